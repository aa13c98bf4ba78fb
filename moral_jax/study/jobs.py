"""Manages the cells of a study on disk: their files, their commands, and their states.

STUDY/cells/NAME/       an ordinary run directory; may be filled on another machine and copied here
STUDY/logs/NAME.txt     the output of its command, all attempts
STUDY/notes/NAME.json   the result of the last attempt
STUDY/notes/NAME.lock   locked by the worker that runs it
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.config import Config, parsing, saved
from moral_jax.config.model import RUN
from moral_jax.runs import directory
from moral_jax.runtime import files, places, secrets, strict_json
from moral_jax.study import stored
from moral_jax.study.spec import Cell, Study
from moral_jax.types import UserError

DONE, TO_DO, FAILED, RUNNING, DAMAGED = "done", "to do", "failed", "running", "damaged"
MODEL_FLAG = f"{parsing.FIELD_FLAG}model.path="
WAITING, STALE = "waiting", "stale"  # for the cell before it; trained again since


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
    before: "Job | None" = None  # whose weights it begins with

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
    def stage_name(self) -> str:
        """Returns the stage whose numbers the study uses: the last of the run."""
        trained = directory.TRAINED if self.config.trains else directory.INITIAL
        return trained if self.cell.kind == "train" else directory.ANSWERS

    @property
    def stage(self) -> Path:
        """The folder of that stage."""
        return stored.folder(self.run, self.stage_name)

    @property
    def trouble(self) -> str | None:
        """What is wrong with the files of a cell that has ended; None where nothing is."""
        return stored.trouble(self.run, self.stage_name)

    @property
    def root(self) -> "Job":
        """The first of the cells that it comes after; itself if there is none."""
        return self if self.before is None else self.before.root


def prepare(study: Study, folder: Path, flags: list[str]) -> list[Job]:
    """Checks the config of every cell and returns the jobs. `flags` override the cell's own.

    Raises:
      UserError: a cell's config is wrong (names the cell), it holds a secret, or its directory another config.
    """
    places.check_workdir(folder)
    _refuse_secrets(study)
    jobs: dict[str, Job] = {}
    for cell in _in_order(study.cells):
        if cell.kind not in KINDS:
            raise UserError(f"cell {cell.name}: kind {cell.kind!r}: expected one of {', '.join(KINDS)}")
        before = jobs[cell.after.name] if cell.after else None
        # last, as --config.model.path on the command line says where the first stages begin
        begins = [f"{MODEL_FLAG}{RUN}{before.run}"] if before else []
        settings = [f"{parsing.FILE_FLAG}{cell.config}", *cell.overrides, *flags, *begins]
        try:
            config = parsing.from_flags(settings)
        except UserError as e:
            raise UserError(f"cell {cell.name}: {e}") from e
        jobs[cell.name] = Job(cell, config, (*cell.arguments, *settings), folder, before)
    _check_same([*jobs.values()])
    return [*jobs.values()]


def _in_order(cells: Sequence[Cell]) -> list[Cell]:
    """Returns the cells in their order, but each after the one that it begins with."""
    out: dict[Cell, None] = {}

    def add(cell: Cell) -> None:
        if cell not in out:
            if cell.after is not None:
                add(cell.after)
            out[cell] = None

    for cell in cells:
        add(cell)
    return [*out]


def _refuse_secrets(study: Study) -> None:
    """Refuses keys and passwords anywhere in a study: command lines stand in logs and notes, names on the page."""
    secrets.refuse("the title of the study", study.title)
    for number, cell in enumerate(study.cells, 1):
        for field, value in dataclasses.asdict(cell).items():
            for text in value if isinstance(value, tuple) else (str(value),):
                secrets.refuse(f"cell {number} of the study: {field}", text)


def _changes(job: Job) -> list[str]:
    """What differs between the run that is there and the cell, a line each; a damaged one is told by its state."""
    try:
        there = directory.read_config(job.run)
        if (
            job.before and (run := there.model.run) and run.name == job.before.run.name
        ):  # of a study copied from elsewhere
            there = dataclasses.replace(there, model=job.config.model)
        lines = saved.difference(there, job.config)
    except UserError:
        return []
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
    """Returns the result of the last attempt on this machine; empty if there was none, or if its notes are damaged."""
    try:
        notes = strict_json.read(job.notes)
    except UserError:
        return {}
    texts = [*notes.get("tail", []), *notes.get("arguments", [])] if _has_lists(notes) else [None]
    is_whole = strict_json.is_number(notes.get("seconds", 0)) and all(isinstance(text, str) for text in texts)
    return notes if is_whole else {}


def _has_lists(notes: dict[str, Any]) -> bool:
    return all(isinstance(notes.get(field, []), list) for field in ("tail", "arguments"))


def is_done(job: Job) -> bool:
    """Returns true if the numbers of the cell and the records behind them exist and are whole, and are of the weights
    that the cell before it stands for."""
    return job.trouble is None and stale(job) is None


def stale(job: Job) -> str | None:
    """Returns why the numbers of a cell count no longer, although they are there; None where they count."""
    if job.before is None or job.trouble is not None:
        return None
    if stale(job.before):
        return f"{job.before.cell.name}, which it begins with, is stale"
    trained = stored.about(job.before.run).get("trained")
    if trained is None:  # it trains nothing, or is not here
        return None
    used = stored.about(job.run).get("model", {}).get("sha256", {})
    if used.get(f"{job.before.run.name}/checkpoints/{trained['step']}") == trained["sha256"]:
        return None
    return f"{job.before.cell.name}, which it begins with, was trained again; remove {job.run} to run it again"


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
    """Returns DONE, STALE, RUNNING, FAILED, DAMAGED, WAITING or TO_DO."""
    if is_done(job):
        return DONE
    if stale(job):
        return STALE
    if job.lock.exists():
        with claim(job) as file:
            if file is None:
                return RUNNING
    if read_notes(job).get("state") == FAILED:
        return FAILED
    if any(job.run.glob("*/metrics.json")):
        return DAMAGED
    return WAITING if job.before and not is_done(job.before) else TO_DO


def parse_shard(text: str) -> tuple[int, int]:
    """Parses I/N: "2/3" is the second of three parts."""
    i, slash, n = text.partition("/")
    if not (slash and i.isdecimal() and n.isdecimal() and len(text) < 20 and 1 <= int(i) <= int(n)):
        raise UserError(f"--shard={text}: expected I/N with 1 <= I <= N, such as 1/4")
    return int(i), int(n)


def shard(jobs: list[Job], i: int, n: int) -> list[Job]:
    """Returns the i-th of n parts. Cells that come after one another are in one part, so that none waits for another.
    Of cells without such ties every n-th is taken, so that each part has cells of every model."""
    roots = list(dict.fromkeys(job.root.cell.name for job in jobs))
    mine = set(roots[i - 1 :: n])
    return [job for job in jobs if job.root.cell.name in mine]
