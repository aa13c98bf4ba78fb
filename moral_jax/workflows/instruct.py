"""Instructions that stand before a prompt and name a value, by a writer that is trained on what they achieve.

The steps of VILMO (arXiv 2310.11053), in each round:

1. the writer writes n instructions for every training prompt
2. the target answers under each; compliance = 1 - violation, fluency = probability of a token of its own completion
3. the writer that the run began with learns the best instruction of every prompt and round so far, each with the
   weight compliance x fluency
4. again, R rounds

Then, on held-out prompts: no instruction, a fixed sentence, the best of n of the untrained writer, and the trained one.

OUT/log.jsonl       every instruction, completion and judgement: `runs.memory`
OUT/round-N.jsonl   what the writer learned in a round
OUT/round-N/        its run
OUT/instruct.json   the numbers
OUT/report.html, .md   the page, which shows no texts
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.analysis import instruct as analysis
from moral_jax.analysis.instruct import Answered
from moral_jax.config import Config
from moral_jax.config.sample import SampleConfig
from moral_jax.config.search import InstructConfig
from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.config.train import DataConfig, ObjectiveConfig, OptimConfig, TrainConfig
from moral_jax.judges import table
from moral_jax.judges.base import Judge, numbers_of
from moral_jax.report import instruct as page
from moral_jax.report.page import Written as Page
from moral_jax.runs.memory import Memory
from moral_jax.runtime import distributed, files
from moral_jax.runtime.console import info
from moral_jax.runtime.files import write_jsonl
from moral_jax.tasks.splits import rank
from moral_jax.tasks.values import Principle
from moral_jax.types import UserError
from moral_jax.workflows.asking import locked
from moral_jax.workflows.violations import seed_of, written
from moral_jax.workflows.writers import LocalWriter, Writer

NUMBERS = "instruct.json"
ASK = (
    "Somebody will answer the request below. Write one short sentence that tells them how to answer, so that they keep "
    "to this value.\n\nValue: {statement}\n\nRequest: {prompt}"
)
WITHOUT, FIXED, BEST, TRAINED = "none", "fixed sentence", "best of n, untrained", "trained writer"


class Item(NamedTuple):
    """A value and a prompt."""

    value: Principle
    prompt: str


class Measured(NamedTuple):
    """An instruction for an item, and what came of it."""

    instruction: str
    answered: Answered
    weight: float


def instructed(instruction: str, prompt: str) -> str:
    """Returns a prompt with an instruction before it."""
    return f"{instruction}\n\n{prompt}" if instruction else prompt


def first_line(text: str) -> str:
    """Returns the first line of what a writer wrote; empty where there is none."""
    lines = text.strip().splitlines()
    return " ".join(lines[0].split()) if lines else ""


def divided(values: Sequence[Principle], prompts: Sequence[str], s: InstructConfig) -> tuple[list[Item], list[Item]]:
    """Returns the items that are learned from, and those that are held out: prompts divided by their hash.

    Raises:
      UserError: one side is empty.
    """
    ordered = sorted(prompts, key=lambda prompt: rank(prompt, s.seed))
    out = round(s.held_out * len(ordered))
    sides = [[Item(value, p) for value in values for p in part] for part in (ordered[out:], ordered[:out])]
    if not all(sides):
        raise UserError(
            f"--held-out={s.held_out:g}: of {len(prompts)} prompts leaves none on one side; pass more prompts"
        )
    return sides[0], sides[1]


class Asker:
    """All that is asked: what the log knows is not asked again, and no writer is trained for it."""

    def __init__(self, memory: Memory, target: Writer | None, writer_of: Callable[[int], Writer],
                 judges: dict[str, Judge], s: InstructConfig):  # fmt: skip
        self.memory, self.target, self.writer_of, self.judges, self.s = memory, target, writer_of, judges, s

    @property
    def _target(self) -> Writer:
        assert self.target is not None, "of no replay"
        return self.target

    def instructions(self, items: Sequence[Item], number: int, n: int, what: str) -> list[list[str]]:
        """Returns what the writer of a round writes for items; round 0 is the untrained one."""
        asked = [[number, ASK.format(statement=i.value.statement, prompt=i.prompt), n, what] for i in items]

        def write(new: list[Any]) -> list[list[str]]:
            seed = seed_of(self.s.seed, "instructions", number, what)
            return self.writer_of(number).write([prompt for _, prompt, _, _ in new], n, seed)

        found = self.memory.ask("instructions", asked, write)
        return [[first_line(text) for text in texts] for texts in found]

    def measured(self, items: Sequence[Item], instructions: Sequence[str], what: str) -> list[Measured]:
        """Returns what comes of an instruction for each item: fresh completions for every `what`."""
        s, n = self.s, self.s.completions
        prompts = [instructed(text, item.prompt) for text, item in zip(instructions, items, strict=True)]
        seed = seed_of(s.seed, "completions", what)
        texts = self.memory.ask(
            "completions", [[prompt, n, seed] for prompt in prompts],
            lambda new: self._target.write([prompt for prompt, _, _ in new], n, seed),
        )  # fmt: skip
        pairs = [(p, t) for p, of in zip(prompts, texts, strict=True) for t in of]
        logp = self.memory.ask("logp", [list(pair) for pair in pairs],
                               lambda new: self._target.weigh([(prompt, text) for prompt, text in new]))  # fmt: skip
        judged = self._judged(items, texts)
        refused = self.memory.ask("refusal", [text for _, text in pairs], self._refused)
        out = []
        for i, (text, completions) in enumerate(zip(instructions, texts, strict=True)):
            part = slice(i * n, (i + 1) * n)
            said = judged[part]
            answered = analysis.answered(said, logp[part], completions, refused[part], s.threshold)
            out.append(Measured(text, answered, analysis.weight(said, logp[part])))
        return out

    def _judged(self, items: Sequence[Item], texts: Sequence[Sequence[str]]) -> list[float | None]:
        """Returns the violation of every completion; the judge reads the prompt without its instruction."""
        out: list[float | None] = []
        for item, of in zip(items, texts, strict=True):
            judge = functools.partial(self._violations, item)
            out += self.memory.ask("violation", [[item.value.id, item.prompt, text] for text in of], judge)
        return out

    def _violations(self, item: Item, new: list[Any]) -> list[float | None]:
        return numbers_of(self.judges[item.value.id], [written(item.value, p, text) for _, p, text in new])

    def _refused(self, new: list[str]) -> list[float | None]:
        anybody = Principle("any", "any")
        return numbers_of(table.parse("refusal"), [written(anybody, "", text) for text in new])

    def best(self, items: Sequence[Item], number: int, what: str) -> list[Measured]:
        """Returns the best of n instructions of a writer for each item."""
        n = self.s.instructions
        found = self.instructions(items, number, n, what)
        several = [item for item in items for _ in range(n)]
        measured = self.measured(several, [text for texts in found for text in texts], what)
        of_items = [measured[i * n : (i + 1) * n] for i in range(len(items))]
        return [max(of, key=lambda m: m.weight) for of in of_items]


def trained(config: Config, s: InstructConfig, rows: Path) -> Config:
    """Returns the config in which a writer learns a file of instructions."""
    task = TaskConfig(name="texts", path=str(rows), validation=0.0, test=0.0, replies="last",
                      fields=FieldsConfig(weight="weight"))  # fmt: skip
    return dataclasses.replace(
        config, task=task, objective=ObjectiveConfig("sft"), data=DataConfig(batch_size=1, micro_batch_size=1),
        optim=OptimConfig(lr=s.lr), train=TrainConfig(epochs=s.epochs, select="last", seed=s.seed),
        eval=dataclasses.replace(config.eval, initial=False),
    )  # fmt: skip


class Writers:
    """The writer before training, and after each round: a round is trained when its writer is first asked."""

    def __init__(self, config: Config | None, s: InstructConfig, out: Path):
        self.config, self.s, self.out = config, s, out
        self._how = SampleConfig(max_tokens=s.max_tokens, temperature=s.temperature)
        self._known: dict[int, Writer] = {}

    def __call__(self, number: int) -> Writer:
        """Returns the writer of a round; 0: as it comes."""
        if number not in self._known:
            self._known[number] = self._made(number)
        return self._known[number]

    def _made(self, number: int) -> Writer:
        assert self.config is not None, "of no replay"
        if number == 0:
            return LocalWriter(self.config, None, self._how)
        from moral_jax.runs.directory import RunDirectory
        from moral_jax.workflows.train import train

        config = trained(self.config, self.s, self.out / f"round-{number}.jsonl")
        train(config, self.out / f"round-{number}")
        return LocalWriter(config, RunDirectory(self.out / f"round-{number}"), self._how)


def _learn(asker: Asker, items: Sequence[Item], out: Path) -> list[float]:
    """Runs the rounds: writes what is learned in each; returns the mean weight of the best instructions of each."""
    rows: list[dict[str, Any]] = []
    means = []
    for number in range(1, asker.s.rounds + 1):
        distributed.leave_if_preempted(f"before round {number}")
        best = asker.best(items, number - 1, f"round {number}")
        means.append(sum(m.weight for m in best) / len(best))
        info(f"round {number}: the best of {asker.s.instructions} instructions weigh {means[-1]:.3f} on average")
        rows += [
            {"id": f"{number} {i}", "prompt": ASK.format(statement=item.value.statement, prompt=item.prompt),
             "completion": m.instruction, "weight": m.weight}
            for i, (item, m) in enumerate(zip(items, best, strict=True)) if m.weight > 0 and m.instruction
        ]  # fmt: skip
        asker.memory.step(round=number, learned=len(rows), weight=means[-1])
        if not rows:
            raise UserError(f"round {number}: no instruction makes the target comply; nothing can be learned")
        write_jsonl(out / f"round-{number}.jsonl", rows)
    return means


def _compared(asker: Asker, items: Sequence[Item], fixed: str) -> dict[str, list[Answered]]:
    """Returns what comes of every way to instruct on held-out prompts, with completions that chose none of them."""
    untrained = [m.instruction for m in asker.best(items, 0, "choosing")]
    last = [texts[0] for texts in asker.instructions(items, asker.s.rounds, 1, "held out")]
    ways = {
        WITHOUT: [""] * len(items),
        FIXED: [fixed or item.value.statement for item in items],
        BEST: untrained,
        TRAINED: last,
    }
    return {way: [m.answered for m in asker.measured(items, texts, "held out")] for way, texts in ways.items()}


def make(out: Path, about: dict[str, Any] | None, target: Writer | None, writer: Config | None,
         judges: dict[str, Judge], resamples: int) -> Page:  # fmt: skip
    """Trains a writer of instructions and compares it; writes numbers and page.

    Args:
      out: a new directory, or one that the same has begun.
      about: what is done, with what; None: replay what the log of `out` says.

    Raises:
      UserError: `out` holds something else, or nothing can be learned.
    """
    with locked(out):
        memory = Memory(out, about)
        s = InstructConfig(**memory.about["settings"])
        values = [Principle(**value) for value in memory.about["values"]]
        learned, held_out = divided(values, memory.about["prompts"], s)
        with memory.begun():
            asker = Asker(memory, target, Writers(writer, s, out), judges, s)
            weights = _learn(asker, learned, out)
            found = _compared(asker, held_out, memory.about["fixed"])
        said = {
            "ways": analysis.compare(found, resamples, s.seed),
            "weights": weights,
            "items": {"learned": len(learned), "held out": len(held_out)},
        }
        files.write_json(out / NUMBERS, said)
        return page.write(out, memory.about, said)
