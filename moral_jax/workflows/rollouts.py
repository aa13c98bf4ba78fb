"""The source of reinforcement learning: batches made of what the model writes.

A rollout is written for `rollout.prompts` prompts with the weights that training has reached, rewarded, scored where
old, reference or critic values are needed, and sealed; then its optimizer steps are cut from it. Prompts come in an
order that is a function of (seed, epoch), the random numbers of a reply are one of (seed, number of the prompt in that
order, sample, place of the token), and the batch of a step one of the rollout and the step's number. A run that was
killed at any moment therefore goes on with the same replies: sealed ones are read, others are written again by the same
weights.
"""

import dataclasses
import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.data import layout, pipeline
from moral_jax.data.layout import READS_STEP, Questions, Shape
from moral_jax.data.pack import epoch_order
from moral_jax.inference.generate import Prompt
from moral_jax.inference.score import Scorer, make_token_scorer, score_tokens
from moral_jax.models import api
from moral_jax.objectives.base import Objective
from moral_jax.respondents.sampling import Asked
from moral_jax.runs import rollouts
from moral_jax.runs.rollouts import DRAWN, IDS, Line, Rollout
from moral_jax.runtime import distributed
from moral_jax.runtime.console import info
from moral_jax.train import checksum, loop
from moral_jax.types import DIVISOR, OLD, OLD_VALUE, REFERENCE, SAMPLED, Batch, Example, Params, UserError
from moral_jax.workflows import references, voice
from moral_jax.workflows.rollout_rows import Needs, OfTexts, rows_of, with_columns, without_signal
from moral_jax.workflows.voice import Voice


class Rollouts:
    """A `types.Source` that writes its rows with the parameters that training has reached."""

    def __init__(
        self,
        config: Config,
        objective: Objective,
        voice: Voice,
        examples: Sequence[Example],
        asked: Sequence[Asked],
        reference: Callable[[], Params],
    ):
        """Plans the run; nothing is written or computed yet.

        Args:
          asked: the prompts of the examples.
          reference: returns the parameters that the run begins with, as `models.api.cast_for_scoring` has them.
        """
        self.config, self.how, self.voice, self.examples = config, config.rollout, voice, examples
        self.model = voice.encoder.files.model
        self.needs = Needs.of(config, objective)
        self.asked = asked
        self.folder = Path()  # of the run; set before the first step
        self.log: loop.Write = lambda *line: None
        self._load_reference = reference
        self._now: tuple[int, Questions] | None = None  # the rollout that steps are cut from

    def __len__(self) -> int:
        return math.ceil(len(self.examples) * self.config.train.epochs / self.how.prompts) * self.how.steps_each

    @functools.cached_property
    def _scorer(self) -> Scorer:
        return make_token_scorer(self.model, self.how.sample.temperature)

    @functools.cached_property
    def _reference(self) -> Params:
        return self._load_reference()

    def stream(self, start: int, stop: int, params: Callable[[], Params]) -> Iterator[Batch]:
        """Yields the batches of steps start + 1 .. stop.

        Raises:
          Preempted: the work was told to end while a rollout was written.
          UserError, StorageError: the rollout inside which the run goes on is missing or damaged.
        """
        for step in range(start, stop):
            number, place = divmod(step, self.how.steps_each)
            if self._now is None or self._now[0] != number:
                self._now = number, self._begin(number, first=step - place, inside=place > 0, params=params)
            yield self._batch(self._now[1], number, place)

    def names(self, batch: Batch) -> list[str]:
        """Returns the ids of the rows in a batch, sorted."""
        assert self._now is not None, "a batch was made"
        items, questions = batch.asks.items_BQ, self._now[1]
        return sorted({questions.examples[questions.items[i][0]].id for i in items[items >= 0]})

    def _prompts(self, number: int) -> tuple[list[Example], list[Asked]]:
        """Returns the prompts of a rollout; each draws its random numbers by its number in the order of the run."""
        examples, asked = [], []
        for n in range(number * self.how.prompts, (number + 1) * self.how.prompts):
            epoch, place = divmod(n, len(self.examples))
            row = epoch_order(len(self.examples), self.config.train.seed, epoch)[place]
            examples.append(self.examples[row])
            asked.append(self.asked[row]._replace(prompt=Prompt(self.asked[row].prompt.tokens, n)))
        return examples, asked

    def _begin(self, number: int, first: int, inside: bool, params: Callable[[], Params]) -> Questions:
        """Returns a rollout as rows to learn from: the sealed one, or a new one.

        Args:
          first: the optimizer steps before it.
          inside: True if some of its steps are done, so that these are not the weights that wrote it.
        """
        examples, asked = self._prompts(number)
        about: dict[str, Any] = {"step": first, "config": self._config_hash()}
        if not inside:
            about["weights"] = self._weights_hash(params())
        folder = self.folder / rollouts.FOLDER
        stored = distributed.from_primary(lambda: rollouts.about(folder, number)) or {}
        if all(stored.get(name) == value for name, value in about.items()):
            rollout = rollouts.unpacked(
                distributed.from_primary(lambda: rollouts.packed(rollouts.read(folder, number)))
            )
            numbers: dict[str, float] = stored["numbers"]
        elif inside:
            raise UserError(
                f"{folder}: rollout {number}, inside which the run goes on, is missing, or was written with another "
                f"reward; go on from a checkpoint before it with --resume-from=STEP, or remove {self.folder} to begin "
                f"again"
            )
        else:
            rollout, numbers = self._write(number, examples, asked, params())
            if distributed.is_primary():
                rollouts.write(folder, number, rollout, about | {"numbers": numbers})
        if not inside:
            self.log(first + 1, "rollout", numbers)
            _tell(number, numbers)
        questions = rows_of(examples, asked, rollout.tokens[IDS])
        return with_columns(questions, rollout, self.how, self.needs)

    def _config_hash(self) -> str:
        """Returns what tells how replies are written and rewarded from other ways."""
        said: list[Any] = [dataclasses.asdict(part) for part in (self.how, self.config.objective)]
        said += [self.config.train.seed, [judge.identity for judge, _ in self.voice.rewards]]
        return hashlib.sha256(repr(said).encode()).hexdigest()

    def _weights_hash(self, params: Params) -> str:
        _, trained = api.split(params, self.model)
        leaves = {sharding.path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(trained)}
        return hashlib.sha256(json.dumps(checksum.on_devices(leaves), sort_keys=True).encode()).hexdigest()

    def _write(
        self, number: int, examples: list[Example], asked: list[Asked], params: Params
    ) -> tuple[Rollout, dict[str, float]]:
        """Writes, rewards and scores a rollout; returns it with what is printed of it."""
        began = time.perf_counter()
        params = api.cast_for_scoring(params, self.model)
        replies = self.voice.write(params, examples, asked, f"writing rollout {number}")
        flat = [reply for of_prompt in replies for reply in of_prompt]
        if number == 0 and all(reply.reward is None for reply in flat):
            raise UserError(
                f"config.rollout.reward={self.how.reward!r}: says nothing (None) of any of the first {len(flat)} "
                f"replies, so that nothing can be learned; correct it"
            )
        written_at = time.perf_counter()
        tokens: OfTexts = {
            IDS: [np.array(r.sample.tokens, np.int32) for r in flat],
            SAMPLED: [np.array(r.sample.logp, np.float32) for r in flat],
            DRAWN: [np.array(r.sample.sampled_logp, np.float32) for r in flat],
        }
        lines = [Line(s.id, s.sample, s.prompt, s.text, s.reason, reward, each) for s, each, reward in flat]
        rollout = Rollout(lines, tokens | self._scored(number, rows_of(examples, asked, tokens[IDS]), params))
        numbers = (
            voice.numbers(replies)
            | without_signal(rollout, self.how, self.needs)
            | {
                "writing_seconds": written_at - began,
                "scoring_seconds": time.perf_counter() - written_at,
            }
        )
        if self.needs.reference:
            numbers["kl"] = _kl(rollout.tokens)
        return rollout, numbers

    def _scored(self, number: int, questions: Questions, params: Params) -> OfTexts:
        """Returns what the trainer, the reference and the critic say of each token, as far as it is needed."""
        out: OfTexts = {}
        if not (self.needs.old or self.needs.critic):
            return out
        rows = sharding.micro_batch_rows(self.config.eval.batch_size, self.model.compute.mesh)
        shape = dataclasses.replace(self._shape(rows), columns=(), token_columns=())
        score = functools.partial(
            score_tokens, self._scorer, questions=questions, shape=shape, prefetch=self.config.data.prefetch
        )
        found = score(params=params, what=f"rollout {number}")
        out[OLD] = [of_text.logp_T for of_text in found]
        if self.needs.critic:
            out[OLD_VALUE] = [of_text.value_T for of_text in found]
        if self.needs.reference:
            said = score(params=self._reference, what=f"rollout {number} under the reference")
            out[REFERENCE] = [of_text.logp_T for of_text in said]
            if number == 0:  # the weights are still those that the run begins with
                gaps = [np.square((o - r).sum()) / len(o) for o, r in zip(out[OLD], out[REFERENCE], strict=True)]
                sums = {"reference_gap": (float(sum(gaps)), float(len(gaps)))}
                references.check_first_step(sums, self.model, "the reference has other weights than the run")
        return out

    def _shape(self, rows: int) -> Shape:
        """Returns the shape of batches of so many rows, the same for all rollouts."""
        length = self.config.data.length
        shortest = min(len(a.prompt.tokens) for a in self.asked)
        reads = min(length, sharding.rounded_up(length - shortest, READS_STEP))
        questions = layout.most_questions(self.config.data)
        return Shape(rows, rows, length, questions, reads, 1, 0, True, (DIVISOR,), self.needs.token_columns)

    def _batch(self, questions: Questions, number: int, place: int) -> Batch:
        """Returns this process's rows of a step's batch: of few numbers of micro-batches, so that few are compiled."""
        how, mesh = self.how, self.model.compute.mesh
        turn, part = divmod(place, how.steps)
        order = epoch_order(how.prompts, self.config.train.seed, number * how.passes + turn)
        prompts = np.array_split(order, how.steps)[part].tolist()
        groups = [range(prompt * how.sample.n, (prompt + 1) * how.sample.n) for prompt in prompts]
        micro_rows = sharding.micro_batch_rows(self.config.data.micro_batch_size, mesh)
        shape = self._shape(micro_rows)
        rows = pipeline.in_rows(questions, questions.pack_groups(groups, shape), shape)
        total = micro_rows * _few_sizes(math.ceil(len(rows) / micro_rows))
        here = sharding.local_rows(total, micro_rows, mesh)
        return layout.pack_batch(questions, [rows[i] if i < len(rows) else [] for i in here], shape)


def _few_sizes(count: int) -> int:
    """Returns the least number of the form m * 2^k, m at most 7, that is not below `count`: a quarter above at most."""
    step = 2 ** max(0, count.bit_length() - 3)
    return sharding.rounded_up(count, step)


def _kl(tokens: OfTexts) -> float:
    """Returns the k3 estimate of the KL divergence to the reference, per token."""
    gap_T = np.concatenate(tokens[REFERENCE]) - np.concatenate(tokens[OLD])
    return float(np.mean(np.exp(gap_T) - 1 - gap_T))


def _tell(number: int, numbers: dict[str, float]) -> None:
    """Prints what a rollout was worth."""
    parts = ", ".join(f"{k.removeprefix('reward/')} {v:.3f}" for k, v in numbers.items() if k.startswith("reward/"))
    reward = f"{numbers['reward']:.3f}" if "reward" in numbers else "unknown"
    said = [f"reward {reward}" + (f" ({parts})" if parts else "")]
    said += [f"KL {numbers['kl']:.4f}"] if "kl" in numbers else []
    said += [f"{numbers['length']:.1f} tokens", f"{numbers['finished']:.0%} finished"]
    if "without_signal" in numbers:
        said.append(f"{numbers['without_signal']:.0%} of groups without signal")
    info(f"rollout {number}: {', '.join(said)}")
