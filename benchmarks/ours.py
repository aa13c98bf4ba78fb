"""Our side of `train_step.py` and `score.py`, by the package's own path from a config: a worker process."""

import dataclasses
import functools
import itertools
import json
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
import workers

from moral_jax import sharding
from moral_jax.config import parsing
from moral_jax.data.pipeline import Questions
from moral_jax.models import api
from moral_jax.runs.records import Asks, make_records
from moral_jax.runtime import jax_setup
from moral_jax.train import optim, step
from moral_jax.types import REFERENCE, Batch, Metrics, UserError
from moral_jax.weights import peft
from moral_jax.workflows import build, references, ways


def device_peak() -> int:
    """Returns the most bytes ever held on the first accelerator; 0 without one."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)


class Competitor:
    """The setup of a run, and its questions. By itself it only hands these to the peers."""

    def __init__(self, flags: list[str]):
        self.config = parsing.from_flags(flags)
        jax_setup.configure()
        self.setup = build.training_setup(self.config)
        self.model = self.setup.files.model
        how = self.model.compute
        self.about = {
            "weights": str(self.setup.files.path),
            "config": dataclasses.asdict(self.config),
            "settings": f"rows of {self.config.data.length}, products in {how.product_dtype}",
            "versions": {"python": platform.python_version()}
            | {name: metadata.version(name) for name in ("jax", "jaxlib")},
        }

    @functools.cached_property
    def questions(self) -> Questions:
        if self.setup.batches:
            return self.setup.batches.questions
        return self.setup.scoring.encoder.encode(self.setup.scored["test"], "test")

    def write_texts(self, path: str) -> None:
        """Writes texts and which of their tokens are read, in our order."""
        with Path(path).open("w") as f:
            for encoded in self.questions.encoded:
                texts, reads = ([getattr(t, name).tolist() for t in encoded.texts] for name in ("tokens_T", "reads_T"))
                f.write(json.dumps({"texts": texts, "reads": reads}) + "\n")

    def write(self, path: str) -> None:
        """Writes the questions for the peers, in our order."""
        q = self.questions
        with Path(path).open("w") as f:
            for (index, order), encoded in zip(q.items, q.encoded, strict=True):
                counts = [q.examples[index].counts[o] for o in order]
                row = {"tokens": encoded.texts[0].tokens_T.tolist(), "options": encoded.option_ids, "counts": counts}
                f.write(json.dumps(row) + "\n")

    def _passed(self, began: float) -> dict[str, float]:
        seconds = time.perf_counter() - began
        tokens = sum(e.length for e in self.questions.encoded)
        return {"seconds": seconds, "questions": len(self.questions.items), "tokens": tokens}


class Stepping(Competitor):
    """What is trained, and the compiled step."""

    def __init__(self, flags: list[str]):
        super().__init__(flags)
        model = self.model
        tx = optim.make(self.config.optim, self.setup.total)
        self.frozen, trained = api.split(self.setup.initial.training(), model)
        self.state = step.init_state(trained, model, tx)
        self.step = step.make_train_step(self.setup.objective, model, tx)

    def _take(self, batch: Batch) -> Metrics:
        """Takes one step; returns its metrics, which may still be computed."""
        mesh = self.model.compute.mesh
        rows = sharding.micro_batch_rows(self.config.data.micro_batch_size, mesh)
        placed = sharding.place(step.split_micro_batches(batch, rows), rows, mesh, micro_batches=True)
        self.state, metrics = self.step(self.state, self.frozen, placed)
        return metrics


class Training(Stepping):
    """The steps of the first epoch."""

    def __init__(self, flags: list[str]):
        super().__init__(flags)
        batches = f"{len(self.setup.batches)} batches of {self.config.data.batch_size}"
        self.about["settings"] = f"{batches} {self.about['settings']}"

    def _steps(self, first: int, last: int) -> tuple[list[float], list[list[int]]]:
        """Losses of the steps, and which questions each of them saw."""
        metrics, seen = [], []
        for batch in self.setup.batches.stream(first, last):
            metrics.append(self._take(batch)["loss"])
            seen.append(batch.asks.items_BQ[batch.asks.items_BQ >= 0].tolist())
        return [float(total / weight) for total, weight in jax.device_get(metrics)], seen

    def first(self) -> float:
        """Seconds of the first step, which compiles."""
        began = time.perf_counter()
        self._steps(0, 1)
        return time.perf_counter() - began

    def piece(self) -> dict[str, float]:
        """One pass over the questions."""
        began = time.perf_counter()
        self._steps(0, len(self.setup.batches))
        return self._passed(began)

    def save_adapters(self, folder: str) -> None:
        """Writes the adapters as PEFT's files."""
        tree = self.state.params["adapters"]
        leaf = lambda path: np.asarray(functools.reduce(lambda at, key: at[key], path.split("/"), tree))  # noqa: E731
        Path(folder).mkdir()
        spec, adapter = self.model.spec, self.config.adapter
        peft.save(leaf, spec, adapter, self.config.model.path, Path(folder), "float32")

    def losses(self, steps: int) -> dict[str, Sequence]:
        """Losses of so many steps, in which the epoch's batches come again and again, and the questions of each."""
        losses, batches = [], []
        for number in itertools.islice(itertools.cycle(range(len(self.setup.batches))), steps):
            loss, seen = self._steps(number, number + 1)
            losses, batches = losses + loss, batches + seen
        return {"losses": losses, "batches": batches}


class TextTraining(Training):
    """The same on texts; references are computed before anything is timed."""

    def prepare(self) -> None:
        """Computes the references."""
        if REFERENCE in self.setup.objective.columns:
            with tempfile.TemporaryDirectory() as folder:
                of = ways.questions_of(self.setup)
                references.fill(Path(folder), self.setup.scoring, self.setup.initial, {}, of)

    def first(self) -> float:
        """Seconds of the references and of the first step, which compiles."""
        began = time.perf_counter()
        self.prepare()
        super().first()
        return time.perf_counter() - began


def letters(replies: Sequence[Any]) -> list[float]:
    """A reward: how many different characters a reply has, by sevens."""
    return [float(len(set(reply.text)) % 7) for reply in replies]


class Rollouts(Stepping):
    """Steps of reinforcement learning, each with a rollout of its own; replies go on to their full length."""

    def __init__(self, flags: list[str]):
        super().__init__(flags)
        self.folder = tempfile.TemporaryDirectory()
        source = self.setup.rollouts
        source.folder = Path(self.folder.name)
        source.asked = [a._replace(ends=frozenset()) for a in source.asked]
        source.log = lambda _, __, numbers: self.numbers.update(numbers)
        self.numbers: dict[str, float] = {}
        self.batches = source.stream(0, self.setup.total, lambda: self.frozen | self.state.params)
        self.about["settings"] = f"{self.config.rollout.sample.slots} slots, {self.about['settings']}"

    def write_prompts(self, path: str) -> None:
        """Writes the prompts as messages."""
        with Path(path).open("w") as f:
            for example in self.setup.data.train:
                turns = list(example.messages) or [{"role": "user", "content": example.text}]
                f.write(json.dumps({"prompt": turns}) + "\n")

    def first(self) -> float:
        """Seconds of the first step, which compiles."""
        return self.piece()["seconds"]

    def piece(self) -> dict[str, Any]:
        """One step: replies, rewards, update."""
        began = time.perf_counter()
        batch = next(self.batches)
        written = time.perf_counter() - began
        jax.block_until_ready(self._take(batch))
        seconds, how = time.perf_counter() - began, self.config.rollout
        replies = how.prompts * how.sample.n
        parts = {
            "writing": self.numbers["writing_seconds"],
            "scoring and columns": written - self.numbers["writing_seconds"],
            "update": seconds - written,
        }
        tokens = int(self.numbers["length"] * replies)
        return {"seconds": seconds, "questions": replies, "tokens": tokens, "parts": parts}


class Scoring(Competitor):
    """Records of every example under every order of its options."""

    def __init__(self, flags: list[str]):
        super().__init__(flags)
        self.params = self.setup.initial.for_scoring()
        self.about["settings"] = f"batches of {self.config.eval.batch_size} {self.about['settings']}"

    def _score(self, asks: Asks) -> list[dict]:
        return make_records(asks, self.setup.scoring.score(self.params, asks, "test"))

    def first(self) -> float:
        """Seconds of the first batch, which compiles: one example in all its orders."""
        examples = self.setup.data.test[:1]
        one = Asks(examples, self.setup.scoring.encoder.all_items(examples))
        began = time.perf_counter()
        self._score(one)
        return time.perf_counter() - began

    def piece(self) -> dict[str, float]:
        """One pass over the questions."""
        began = time.perf_counter()
        self._score(self.setup.scored["test"])
        return self._passed(began)

    def probabilities(self) -> list[list[float]]:
        """Of the options as they were shown, in the questions' order."""
        records = self._score(self.setup.scored["test"])
        return [[shown["probabilities"][o] for o in shown["order"]] for r in records for shown in r["orders"]]


if __name__ == "__main__":
    try:
        workers.serve(
            {"encode": Competitor, "train": Training, "texts": TextTraining, "rollouts": Rollouts, "score": Scoring},
            device_peak,
        )
    except UserError as e:
        sys.exit(f"error: {e}")
