"""Manages the cells of a study on disk: their files, their commands, and their states.

STUDY/cells/NAME/       an ordinary run directory; may be filled on another machine and copied here
STUDY/logs/NAME.txt     the output of its command, all attempts
STUDY/notes/NAME.json   the result of the last attempt
STUDY/notes/NAME.lock   locked by the worker that runs it
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.config import Config, parsing, saved
from moral_jax.runs import directory
from moral_jax.runtime import files
from moral_jax.study.spec import Cell, Study
from moral_jax.types import UserError

DONE, TO_DO, FAILED, RUNNING = "done", "to do", "failed", "running"


class Kind(NamedTuple):
    """A command that fills a run directory."""

    shell_words: tuple[str, ...]  # as a person types it
    entry_point: str  # module:function that takes the command line and returns an exit code
    first_arguments: tuple[str, ...]  # of that function


KINDS: dict[str, Kind] = {
    "train": Kind(("python", "train.py"), "moral_jax.cli.main:train_main", ()),
    "eval": Kind(("moral-jax", "eval"), "moral_jax.cli.main:main", ("eval",)),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """A cell with its checked config."""

    cell: Cell
    config: Config
    arguments: tuple[str, ...]
    folder: Path  # of the study

    @property
    def run(self) -> Path:
        return self.folder / "cells" / self.cell.name

    @property
    def log(self) -> Path:
        return self.folder / "logs" / f"{self.cell.name}.txt"

    @property
    def notes(self) -> Path:
        return self.folder / "notes" / f"{self.cell.name}.json"

    @property
    def lock(self) -> Path:
        return self.folder / "notes" / f"{self.cell.name}.lock"

    @property
    def kind(self) -> Kind:
        return KINDS[self.cell.kind]

    @property
    def stage(self) -> Path:
        """Returns the folder of the numbers that the study uses: the last stage of the run."""
        trained = directory.TRAINED if self.config.trains else directory.INITIAL
        name = trained if self.cell.kind == "train" else directory.ANSWERS
        return directory.stages(self.run).get(name, self.run / name)


def prepare(study: Study, folder: Path, flags: list[str]) -> list[Job]:
    """Checks the config of every cell and returns the jobs. `flags` override the cell's own.

    Raises:
      UserError: a cell's config is wrong (names the cell), or its directory holds another config.
    """
    jobs = []
    for cell in dict.fromkeys(study.cells):
        if cell.kind not in KINDS:
            raise UserError(f"cell {cell.name}: kind {cell.kind!r}: expected one of {', '.join(KINDS)}")
        settings = [f"{parsing.FILE_FLAG}{cell.config}", *cell.overrides, *flags]
        try:
            config = parsing.from_flags(settings)
        except UserError as e:
            raise UserError(f"cell {cell.name}: {e}") from e
        jobs.append(Job(cell, config, (*cell.arguments, *settings), folder))
    _check_same(jobs)
    return jobs


def _changes(job: Job) -> list[str]:
    """Returns the differences between a cell and the run in its directory, a line each."""
    if not (job.run / "config.json").exists():
        return []
    lines = saved.difference(saved.read(job.run / "config.json"), job.config)
    mine = list(job.cell.arguments)
    theirs = read_notes(job).get("arguments", mine)  # a run copied from elsewhere has no notes
    return lines if theirs == mine else [*lines, f"arguments: {theirs} -> {mine}"]


def _check_same(jobs: list[Job]) -> None:
    """Raises if the directory of a cell holds a run of another config or other arguments."""
    for job in jobs:
        if lines := _changes(job):
            differences = "\n  ".join(lines)
            raise UserError(
                f"cell {job.cell.name}: {job.run} holds a run of another config; undo, remove it, or name another "
                f"--workdir:\n  {differences}"
            )


def read_notes(job: Job) -> dict[str, Any]:
    """Returns the result of the last attempt on this machine; empty if there was none."""
    try:
        return json.loads(job.notes.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def is_done(job: Job) -> bool:
    """Returns true if the numbers of the cell and all records behind them exist."""
    try:
        numbers = json.loads((job.stage / "metrics.json").read_text(encoding="utf-8"))
        records = (job.stage / f"{numbers['split']}.jsonl").read_bytes()
    except (FileNotFoundError, json.JSONDecodeError, UserError):
        return False
    return records.count(b"\n") == numbers["rows"] and (job.run / "config.json").exists()


@contextlib.contextmanager
def claim(job: Job) -> Iterator[int | None]:
    """Takes the lock of a cell: yields an open file, or None if another worker has the lock.

    The run inherits the file, so the lock is free once both worker and run have ended.
    """
    job.lock.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(files.lock(job.lock))
        except OSError as e:
            raise UserError(f"{job.lock}: no locks here ({e}); give each worker a --workdir of its own") from e
        yield file


def owner(job: Job) -> str:
    """Describes the owner of the lock."""
    return files.owner(job.lock)


def state(job: Job) -> str:
    """Returns DONE, RUNNING, FAILED or TO_DO."""
    if is_done(job):
        return DONE
    if job.lock.exists():
        with claim(job) as file:
            if file is None:
                return RUNNING
    return FAILED if read_notes(job).get("state") == FAILED else TO_DO


def parse_shard(text: str) -> tuple[int, int]:
    """Parses I/N: "2/3" is the second of three parts."""
    i, slash, n = text.partition("/")
    if not (slash and i.isdecimal() and n.isdecimal() and len(text) < 20 and 1 <= int(i) <= int(n)):
        raise UserError(f"--shard={text}: expected I/N with 1 <= I <= N, such as 1/4")
    return int(i), int(n)


def shard(jobs: list[Job], i: int, n: int) -> list[Job]:
    """Returns every n-th job from the i-th. Shards 1 to n partition the jobs, and each has cells of every model."""
    return jobs[i - 1 :: n]
