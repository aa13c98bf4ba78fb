"""From a config to divided rows.

`load` finds the file of each split (`_sources`) and reads it. Splits without a file are divided from the rows of
`path`; training rows that share a key, or the whole question, with a row of a file of its own are dropped.
`train_share` and `limit` then keep the rows of lowest hash. The result records where the rows come from, and what was
left out.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moral_jax.config.task import TaskConfig
from moral_jax.runtime import console
from moral_jax.runtime.files import sha256
from moral_jax.tasks import archive, hub, registry, stored, tables
from moral_jax.tasks.registry import Task
from moral_jax.tasks.rows import Columns
from moral_jax.tasks.splits import Split, divide, lowest, rank
from moral_jax.tasks.stored import take
from moral_jax.types import Example, UserError

MOST_NAMED = 20  # bad rows in one message
SHARED_KEY = "rows dropped, as they share a key with another split"
BAD = "bad rows dropped"
DROP = "or leave such rows out: --config.task.on_bad_row=drop"


class Dataset(NamedTuple):
    """Rows divided into splits, and their provenance."""

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    provenance: dict[str, Any]  # JSON

    @property
    def scored(self) -> dict[str, Sequence[Example]]:
        """The splits to score, without empty ones."""
        return {split: rows for split, rows in (("validation", self.validation), ("test", self.test)) if rows}


class FileRows(NamedTuple):
    """The examples of one file, and its provenance."""

    examples: Sequence[Example]
    hashes: dict[str, str]  # SHA-256 of each file, or the commit of a data set of the hub
    bad: int = 0  # rows left out
    licence: str | None = None  # as a data set's card has it


@dataclasses.dataclass
class _BadRows:
    """Bad rows of a file: their number, and the messages of the first."""

    count: int = 0
    messages: list[str] = dataclasses.field(default_factory=list)

    def add(self, error: UserError) -> None:
        self.count += 1
        if self.count <= MOST_NAMED:
            self.messages.append(str(error))

    def message(self, path: str) -> str:
        if self.count == 1:
            return self.messages[0]
        first = f"; the first {MOST_NAMED}" if self.count > MOST_NAMED else ""
        return "\n  ".join([f"{path}: {self.count} bad rows{first}:", *self.messages])


def _examples(rows: Iterator[tables.Read], task: Task, config: TaskConfig, bad: _BadRows) -> Iterator[Example]:
    """Yields the examples of rows; notes the bad ones."""
    grouped = task.grouped(rows, config)
    for row in console.progress(grouped, desc="reading rows", unit="row", delay=3, leave=False):
        try:
            if isinstance(row, UserError):
                raise row
            yield from task.examples(row, config)
        except UserError as e:
            bad.add(e)


class _Opened(NamedTuple):
    """A source of rows."""

    rows: Iterator[tables.Read]
    identity: list[Any]  # JSON that changes when the rows do
    hashes: Callable[[], dict[str, str]]
    licence: str | None


def _opened(path: str, columns: Columns) -> _Opened:
    """Opens a file, a folder or a data set of the hub."""
    if name := hub.parse(path):
        found = hub.load(name)
        commit = {str(name): found.commit or "unknown"}
        return _Opened(tables.of_dataset(found.rows, str(name), columns), [commit], lambda: commit, found.licence)
    local = Path(path).expanduser()
    files = tables.files_of(local)
    identity = [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    names = [path] if files == [local] else [str(f) for f in files]
    hashes = lambda: {name: sha256(file) for name, file in zip(names, files, strict=True)}  # noqa: E731
    return _Opened(tables.rows(local, columns), identity, hashes, None)


def _check_ids(examples: Sequence[Example], path: str) -> None:
    """Raises UserError if two rows have one id; eight bytes a row, as there may be millions."""
    ranks = np.fromiter((rank(example.id, 0) for example in examples), np.uint64, len(examples))
    values, counts = np.unique(ranks, return_counts=True)
    seen: set[str] = set()
    for place in np.flatnonzero(np.isin(ranks, values[counts > 1])):
        name = examples[int(place)].id
        if name in seen:
            raise UserError(f"{path}: the id {name!r} appears in two rows; ids must differ")
        seen.add(name)


def read(path: str, config: TaskConfig) -> FileRows:
    """Reads all rows of one file, folder or data set of the hub.

    Raises:
      UserError: the file is missing, empty, has bad rows (the message names the first twenty, unless `on_bad_row` drops
        them), lacks a column, or two rows have the same id (records and splits are keyed by id).
    """
    task, columns, bad = registry.get(config.name), Columns(), _BadRows()
    opened = _opened(path, columns)
    items = _opened(config.items_path, Columns()) if config.items_path else None
    what = [
        opened.identity,
        items.identity if items else [],
        config.name,
        dataclasses.asdict(config.fields),
        config.total_votes,
        config.scale,
    ]
    key = stored.key([*what, config.on_bad_row])
    if found := stored.find(key):
        return FileRows(found[0], **found[1], licence=opened.licence)
    examples, is_stored = stored.collect(_examples(opened.rows, task, config, bad), key)
    task.check_columns(columns, config.fields, path)
    if bad.count and config.on_bad_row == "stop":
        raise UserError(f"{bad.message(path)}\n{DROP}" if bad.count > 1 else f"{bad.message(path)}; {DROP}")
    if not examples:
        raise UserError(f"{path}: holds no rows" + (f" but bad ones. {bad.message(path)}" if bad.count else ""))
    if bad.count:
        console.info(f"left out: {bad.message(path)}")
    _check_ids(examples, path)
    noted = {"hashes": opened.hashes() | (items.hashes() if items else {}), "bad": bad.count}
    if is_stored:
        stored.complete(key, noted)
    return FileRows(examples, **noted, licence=opened.licence)


def _sources(task: Task, config: TaskConfig) -> tuple[dict[str, str | None], dict[str, str] | None]:
    """Returns the file of each split (None if there is none), and the hashes of the archive if one was downloaded."""
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


def question_of(example: Example) -> tuple:
    """Returns all that a prompt shows of a row: two rows with the same are one question asked twice."""
    turns = tuple((turn["role"], turn["content"]) for turn in example.messages)
    return (example.question, example.title, example.text, example.options, turns)


def _apart(examples: Sequence[Example], others: list[Example]) -> tuple[Sequence[Example], int]:
    """Returns the examples that share no key and no question with `others`, and how many do."""
    keys, asked = {key for e in others for key in e.keys}, {question_of(e) for e in others}
    free = [i for i, e in enumerate(examples) if not keys.intersection(e.keys) and question_of(e) not in asked]
    return (examples if len(free) == len(examples) else take(examples, free)), len(examples) - len(free)


def _divided(examples: Sequence[Example], own: dict[str, FileRows], config: TaskConfig) -> Split:
    """Divides the rows of `path` beside the splits that have a file of their own."""
    others = [example for rows in own.values() for example in rows.examples]
    free, overlap = _apart(examples, others) if own else (examples, 0)
    if overlap:
        console.info(
            f"{overlap} of {len(examples)} training rows share a key or the question with rows of other files; dropped"
        )
    if not free:
        raise UserError(f"{config.path}: each of its rows is also in {config.test_path or config.validation_path}")
    validation = 0.0 if "validation" in own or config.test_only else config.validation
    test = 1.0 if config.test_only else 0.0 if "test" in own else config.test
    split = divide(free, validation, test, config.split_seed)
    return split._replace(**{s: rows.examples for s, rows in own.items()}, dropped=split.dropped + overlap)


def load(config: TaskConfig) -> Dataset:
    """Reads the rows and divides them into splits.

    A split with its own file is used as it is; the others are shares of the rows in `path`.

    Raises:
      UserError: the task is unknown, a file is missing, rows are bad (the message names file, line, field, value found
        and value expected), or a download failed.
    """
    task = registry.get(config.name)
    if config.test_only:
        console.info(f"test only, by its licence ({config.licence or task.licence}): nothing is trained on these rows")
    paths, archived = _sources(task, config)
    own = {s: read(p, config) for s, p in paths.items() if p and s != "train"}
    if paths["train"]:
        main = read(paths["train"], config)
    else:
        assert task.built_in is not None, "_sources refuses a task without rows"
        main = FileRows(task.built_in(), {})
    split = _divided(main.examples, own, config)
    splits = {"train": split.train, "validation": split.validation, "test": split.test}
    if config.train_share < 1:
        count = max(1, round(config.train_share * len(splits["train"])))
        splits["train"] = lowest(splits["train"], count, config.split_seed)
    if config.limit is not None:
        splits = {s: lowest(e, config.limit, config.split_seed) for s, e in splits.items()}
    about = provenance(config, [main, *own.values()], {s: len(e) for s, e in splits.items()})
    about |= {"files": {s: p for s, p in paths.items() if p}, SHARED_KEY: split.dropped}
    return Dataset(**splits, provenance=about | ({"sha256": archived} if archived else {}))


def of_one_file(path: str, config: TaskConfig) -> tuple[dict[str, Sequence[Example]], dict[str, Any]]:
    """Returns all rows of a file as the split "rows", and their provenance; raises as `read`."""
    file = read(path, config)
    about = provenance(config, [file], {"rows": len(file.examples)}) | {"files": {"rows": path}}
    return {"rows": file.examples}, about


def provenance(config: TaskConfig, files: Sequence[FileRows], rows: dict[str, int]) -> dict[str, Any]:
    """Returns the JSON record of where a run's rows come from: task, citation, licence, hashes and counts."""
    task = registry.get(config.name)
    licences = list(dict.fromkeys(file.licence for file in files if file.licence))
    return {
        "task": config.name,
        "description": task.description,
        "citation": task.citation,
        "licence": config.licence or ", ".join(licences) or task.licence,
        "files": {},
        "sha256": dict(collections.ChainMap(*(file.hashes for file in files))),
        "rows": rows,
        BAD: sum(file.bad for file in files),
    }
