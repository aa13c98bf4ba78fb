"""Defines the tasks and loads their data sets.

`TASKS` is a literal table: how each task reads a file, and whether its rows are built in or released for download.
`load` finds the file of each split (`_sources`), reads the rows, and checks that ids are unique. Splits without a file
are divided from the rows of `path`. `train_share` and `limit` then keep the rows of lowest hash. The result records
where the rows come from.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.config.task import TaskConfig
from moral_jax.runtime.files import expanded, sha256
from moral_jax.tasks import archive, scruples, synthetic, votes
from moral_jax.tasks.splits import divide, lowest
from moral_jax.types import Example, UserError

SCRUPLES_CITATION = "Lourie, Le Bras and Choi, Scruples, AAAI 2021, arXiv 2008.09094"
SCRUPLES_LICENCE = "code Apache-2.0, no separate data licence named; texts from Reddit, research use"


class Task(NamedTuple):
    """A task: how its rows are read, where they come from, and which prompts fit."""

    read: Callable[[Path, TaskConfig], list[Example]]
    built_in: Callable[[], list[Example]] | None
    released: archive.Released | None
    study_prompt: str | None  # name of the prompt of arXiv 2410.07826 that fits
    about_one: str | None  # a fixed yes/no question about a single option; yes is a vote for it
    classes: tuple[str, ...] | None  # the options, if every row has the same ones
    description: str
    citation: str
    licence: str


class Dataset(NamedTuple):
    """Rows divided into splits, and their provenance."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    provenance: dict[str, Any]  # JSON

    @property
    def scored(self) -> dict[str, list[Example]]:
        """The splits to score, without empty ones."""
        return {split: rows for split, rows in (("validation", self.validation), ("test", self.test)) if rows}


TASKS: dict[str, Task] = {
    "dilemmas": Task(
        read=lambda path, _: scruples.read_dilemmas(path),
        built_in=None,
        released=archive.DILEMMAS,
        study_prompt="dilemmas",
        about_one=scruples.UNETHICAL,
        classes=None,
        description="Scruples DILEMMAS: which of two actions is less ethical, five votes each",
        citation=SCRUPLES_CITATION,
        licence=SCRUPLES_LICENCE,
    ),
    "anecdotes": Task(
        read=lambda path, _: scruples.read_anecdotes(path),
        built_in=None,
        released=archive.ANECDOTES,
        study_prompt=None,
        about_one=None,
        classes=tuple(scruples.FIVE_WAY.values()),
        description="Scruples ANECDOTES: who is in the wrong, five answers",
        citation=SCRUPLES_CITATION,
        licence=SCRUPLES_LICENCE,
    ),
    "anecdotes_binary": Task(
        read=lambda path, _: scruples.read_anecdotes_binary(path),
        built_in=None,
        released=archive.ANECDOTES,
        study_prompt="anecdotes",
        about_one=None,
        classes=tuple(scruples.BINARY.values()),
        description="Scruples ANECDOTES: is the author in the right or in the wrong",
        citation=SCRUPLES_CITATION,
        licence=SCRUPLES_LICENCE,
    ),
    "votes": Task(
        read=lambda path, c: votes.read_votes(path, c.fields, c.total_votes),
        built_in=None,
        released=None,
        study_prompt=None,
        about_one=None,
        classes=None,
        description="votes on questions with options",
        citation="the file's own",
        licence="the file's own",
    ),
    "synthetic": Task(
        read=lambda path, _: scruples.read_dilemmas(path),
        built_in=synthetic.examples,
        released=None,
        study_prompt="dilemmas",
        about_one=scruples.UNETHICAL,
        classes=None,
        description="SYNTHETIC dilemmas: made-up actions, votes drawn from a seeded model, no human judged them",
        citation="written for moral_jax",
        licence="Apache-2.0",
    ),
}


def get(name: str) -> Task:
    """Returns the task of that name; raises UserError if there is none."""
    if name not in TASKS:
        raise UserError(f"config.task.name={name!r}: no such task; there are {', '.join(TASKS)}")
    return TASKS[name]


def read(path: str, config: TaskConfig) -> list[Example]:
    """Reads all rows of one file.

    Raises:
      UserError: the file is missing, empty or has a bad row, or two rows have the same id (records and splits are keyed
        by id).
    """
    examples = get(config.name).read(expanded(path), config)
    if not examples:
        raise UserError(f"{path}: holds no rows")
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise UserError(f"{path}: the id {example.id!r} appears in two rows; ids must differ")
        seen.add(example.id)
    return examples


def _sources(task: Task, config: TaskConfig) -> tuple[dict[str, str | None], dict[str, str] | None]:
    """Returns the file of each split (None if not given), and the hashes of the archive if one was downloaded."""
    given = {"train": config.path, "validation": config.validation_path, "test": config.test_path}
    if config.path is None and task.released is not None:
        files, hashes = archive.fetch(task.released)
        released = {"train": files["train"], "validation": files["dev"], "test": files["test"]}
        return {split: given[split] or str(path) for split, path in released.items()}, hashes
    if not config.path and task.built_in is None:
        raise UserError(
            f"config.task.path is not set, and task {config.name!r} has no built-in rows; pass --config.task.path=FILE"
        )
    return given, None


def load(config: TaskConfig) -> Dataset:
    """Reads the rows and divides them into splits.

    A split with its own file is used as it is; the others are shares of the rows in `path`.

    Raises:
      UserError: the task is unknown, a file is missing, a row is bad (the message names file, line, field, value found
        and value expected), or a download failed.
    """
    task = get(config.name)
    paths, hashes = _sources(task, config)
    from_files = {s: read(p, config) for s, p in paths.items() if p and s != "train"}
    if paths["train"]:
        examples = read(paths["train"], config)
    else:
        assert task.built_in is not None, "_sources refuses a task without rows"
        examples = task.built_in()
    split = divide(
        examples,
        0.0 if "validation" in from_files else config.validation,
        0.0 if "test" in from_files else config.test,
        config.split_seed,
    )
    splits = {"train": split.train, "validation": split.validation, "test": split.test} | from_files
    if config.train_share < 1:
        count = max(1, round(config.train_share * len(splits["train"])))
        splits["train"] = lowest(splits["train"], count, config.split_seed)
    if config.limit is not None:
        splits = {s: lowest(e, config.limit, config.split_seed) for s, e in splits.items()}
    files = {s: p for s, p in paths.items() if p}
    about = provenance(config, files, {s: len(e) for s, e in splits.items()}, hashes)
    return Dataset(**splits, provenance=about | {"rows dropped, as they share a key with another split": split.dropped})


def provenance(
    config: TaskConfig, files: dict[str, str], rows: dict[str, int], hashes: dict[str, str] | None = None
) -> dict[str, Any]:
    """Returns the JSON record of where a run's rows come from: task, citation, licence, files, hashes and counts."""
    task = get(config.name)
    return {
        "task": config.name,
        "description": task.description,
        "citation": task.citation,
        "licence": task.licence,
        "files": files,
        "sha256": _hashes(files) if hashes is None else hashes,
        "rows": rows,
    }


def _hashes(files: dict[str, str]) -> dict[str, str]:
    return {p: sha256(expanded(p)) for p in files.values()}
