"""Asks one respondent whatever comes, and writes each answer as it comes: what is answered already is not asked again.

OUT/records.jsonl      every answer, appended as it comes: `runs.answers`
OUT/questionnaire.json what was asked and who answered
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.config import Config
from moral_jax.config.task import TaskConfig
from moral_jax.respondents.api.cost import Budget
from moral_jax.respondents.base import Reading, asks_of
from moral_jax.runs import answers
from moral_jax.runs.answers import RECORDS
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.records import Asks, Record, make_records
from moral_jax.runtime import console, distributed, files, places
from moral_jax.tasks.questionnaire.cross import Crossed
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.types import Example, UserError
from moral_jax.workflows.evaluate import check_answers_questions, respondent_of
from moral_jax.workflows.tally import ABOUT

Key = tuple[str, str]  # row and condition


class Who(NamedTuple):
    """A respondent that is asked."""

    name: str
    config: Config
    run: Path | None


def config_for(config: Config, task: Folder) -> Config:
    """Returns a config that asks a questionnaire: its orders, and its template unless the config's own is of questions.

    A run keeps what belongs to its model, such as system message and labels; its own task's template does not fit.
    """
    prompt, ask = config.prompt, config.prompt.ask_for(config.model.head)
    template = task.template if ask == "together" else task.template.replace("{options}", "{option}")
    if config.model.head == "text":
        template = task.template.replace("{options}", "").strip()
    prompt = dataclasses.replace(
        prompt,
        template=template,
        orders=task.orders,
        format=None if prompt.format == "paper" else prompt.format,
    )
    return dataclasses.replace(config, prompt=prompt, task=TaskConfig(name="votes", scale=task.scale))


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Makes a directory, and keeps other processes from writing to it.

    Raises:
      UserError: somebody works there.
    """
    places.check_workdir(out)
    with files.storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with files.lock(out / "lock") as held:
        if held is None:
            raise UserError(f"{out}: {files.owner(out / 'lock')} works here already; wait, or pass --out=ANOTHER")
        yield


def _who_can_choose(who: Who) -> Config:
    """Returns the config of a respondent; raises UserError for one that a questionnaire cannot be put to."""
    if who.config.respondent.kind == "baseline":
        raise UserError(f"{who.name}: a baseline is fitted to rows with votes; use it with moral-jax eval")
    check_answers_questions(who.config, RunDirectory(who.run) if who.run else None)
    return who.config


class Asking:
    """One respondent, and what it has answered so far."""

    def __init__(self, who: Who, task: Folder, out: Path, budget: Budget, about: dict[str, Any]):
        """Finds the respondent and its earlier answers; loads no weights.

        Args:
          task: how it is asked.
          out: where answers are.
          budget: what an API may cost.
          about: what the directory says of itself; who answers is added before the first answer is written.

        Raises:
          UserError: it cannot answer, or another one of its name has.
        """
        self.who, self.out, self.about = who, out, about
        self.config = config_for(_who_can_choose(who), task)
        self.respondent, _ = respondent_of(self.config, budget, RunDirectory(who.run) if who.run else None)
        known = about["respondents"].get(who.name) or {}
        self._said = {"about": self.respondent.about, "prompt": dataclasses.asdict(self.config.prompt)}
        if known and (known.get("about"), known.get("prompt")) != (self._said["about"], self._said["prompt"]):
            raise UserError(
                f"{out}: another {who.name} has answered here, or with another prompt; pass --out=ANOTHER, or another "
                f"name: --model=NAME=PATH"
            )
        self._tokens = dict(known.get("tokens") or {})
        self.records: dict[Key, Record] = distributed.from_primary(self._earlier)

    def _earlier(self) -> dict[Key, Record]:
        path = self.out / RECORDS
        answers.mend(path)
        found = answers.read(path) if path.exists() and path.stat().st_size else []
        return {answers.identity(r)[1:]: r for r in found if r["respondent"] == self.who.name}

    def key(self, example: Example) -> Key:
        """Returns under what the answer to a question is kept."""
        return answers.identity({"respondent": self.who.name} | example.notes)[1:]

    def left(self, examples: Sequence[Example]) -> list[Example]:
        """Returns the questions that have not been answered yet.

        Raises:
          UserError: one was asked in other words before.
        """
        out = []
        for example in examples:
            key = self.key(example)
            if key not in self.records:
                out.append(example)
            elif self.records[key].get("asked") != example.notes["asked"]:
                raise UserError(
                    f"{self.out / RECORDS}: {self.who.name} answered row {key[0]!r} under {key[1]} when its words, "
                    f"right option, tags, labels or groups were others; pass --out=ANOTHER, or remove these records"
                )
        return out

    def asks(self, examples: Sequence[Example]) -> Asks:
        """Returns the asks about some questions."""
        return asks_of(self.respondent, examples, self.config.orders_of)

    def ask(self, parts: Sequence[Crossed], piece: int, bar: Any = None) -> None:
        """Asks questions, and writes each piece before the next is asked.

        Args:
          parts: questions by name, those that are `left`.
          piece: questions that are asked before their answers are written.
          bar: a progress bar that is moved by as many questions as are answered; default: one over the pieces.
        """
        pieces = []
        for part in parts:
            of, name = part.examples, part.name or "rows"
            pieces += [Crossed(f"{name} {i + 1}", of[i : i + piece]) for i in range(0, len(of), piece)]
        by_name: Mapping[str, Asks] = {p.name: self.asks(p.examples) for p in pieces}
        self.respondent.prepare(by_name)
        self.about["respondents"][self.who.name] = self._said | {"tokens": self._tokens}
        items = by_name.items()
        for name, asks in items if bar else console.progress(items, desc=f"asking {self.who.name}", unit="part"):
            distributed.leave_if_preempted(f"before asking {name}")
            records = [_named(r, self.who.name) for r in make_records(asks, self.respondent.choose(asks, name))]
            self._count_tokens(asks)
            if distributed.is_primary():
                files.write_json(self.out / ABOUT, self.about)
                answers.append(self.out / RECORDS, records)
            self.records |= {answers.identity(record)[1:]: record for record in records}
            if bar:
                bar.update(len(records))

    def _count_tokens(self, asks: Asks) -> None:
        """Counts what a local model has read, and what it would have read without shared beginnings."""
        if isinstance(self.respondent, Reading):
            read, alone = self.respondent.tokens(asks)
            self._tokens["read"] = self._tokens.get("read", 0) + read
            self._tokens["alone"] = self._tokens.get("alone", 0) + alone


def _named(record: Record, name: str) -> Record:
    return {"respondent": name} | {k: v for k, v in record.items() if k not in ("second_counts", "keys")}
