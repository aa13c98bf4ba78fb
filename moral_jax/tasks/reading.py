"""Reads all rows of a file, a folder or a data set of the hub as examples.

Bad rows are named together, or left out and counted. Large sets are stored as a memory-mapped table (`stored`).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.config.task import TaskConfig
from moral_jax.runtime import console
from moral_jax.runtime.files import expanded, sha256
from moral_jax.tasks import declared, hub, registry, stored, tables
from moral_jax.tasks.declared import Declared
from moral_jax.tasks.registry import Task
from moral_jax.tasks.rows import Columns
from moral_jax.tasks.splits import rank
from moral_jax.types import Example, UserError

MOST_NAMED = 20  # bad rows in one message
DROP = "or leave such rows out: --config.task.on_bad_row=drop"


class FileRows(NamedTuple):
    """The examples of one file, and its provenance."""

    examples: Sequence[Example]
    hashes: dict[str, str]  # SHA-256 of each file, or the commit of a data set of the hub
    bad: int = 0  # rows left out
    licence: str | None = None  # as a data set's card has it
    declared: Declared | None = None  # by the data.toml beside it


@dataclasses.dataclass
class BadRows:
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

    def settle(self, found: Sequence[object], path: str, *, drops: bool) -> None:
        """Ends the reading of a folder's rows.

        Args:
          found: the good ones.
          drops: leave bad rows out, and say which.

        Raises:
          UserError: rows are bad, or none is good.
        """
        if self.count and not drops:
            raise UserError(f"{self.message(path)}; or leave such rows out: --on-bad-row=drop")
        if self.count:
            console.info(f"left out: {self.message(path)}")
        if not found:
            raise UserError(f"{path}: holds no rows")


def _examples(rows: Iterator[tables.Read], task: Task, config: TaskConfig, bad: BadRows) -> Iterator[Example]:
    """Yields the examples of rows; notes the bad ones."""
    watched = console.progress(rows, desc="reading rows", unit="row", delay=3, leave=False)
    for row in task.grouped(watched, config):
        if isinstance(row, UserError):
            bad.add(row)
            continue
        try:
            yield from task.examples(row, config)
        except UserError as e:
            bad.add(e)


class Opened(NamedTuple):
    """A source of rows."""

    rows: Iterator[tables.Read]
    identity: list[Any]  # JSON that changes when the rows do
    hashes: Callable[[], dict[str, str]]
    licence: str | None
    declared: Declared | None = None


def opened(path: str, columns: Columns, *of_hub: str) -> Opened:
    """Opens a file, a folder or a data set of the hub.

    Args:
      of_hub: setting and flag, as of `hub.load`.
    """
    if name := hub.parse(path):
        if columns.given:
            raise UserError(f"{name}: names its own columns; leave out config.task.columns")
        found = hub.load(name, *of_hub)
        commit = {str(name): found.commit or "unknown"}
        return Opened(tables.of_dataset(found.rows, str(name), columns), [commit], lambda: commit, found.licence)
    local = expanded(path)
    files = tables.files_of(local)
    identity = [[str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    names = [path] if files == [local] else [str(f) for f in files]
    hashes = lambda: {name: sha256(file) for name, file in zip(names, files, strict=True)}  # noqa: E731
    return Opened(tables.rows(local, columns), identity, hashes, None, declared.beside(local))


def _check_ids(examples: Sequence[Example], path: str) -> None:
    """Raises UserError if two rows have one id; eight bytes a row, as there may be millions."""
    ranks = np.fromiter((rank(example.id, 0) for example in stored.brief(examples)), np.uint64, len(examples))
    values, counts = np.unique(ranks, return_counts=True)
    seen: set[str] = set()
    for place in np.flatnonzero(np.isin(ranks, values[counts > 1], kind="sort")):
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
    task, bad = registry.get(config.name), BadRows()
    columns = Columns(tuple(config.columns.split("|")) if config.columns else ())
    source = opened(path, columns)
    items = opened(config.items_path, Columns()) if config.items_path else None
    what = [
        source.identity,
        items.identity if items else [],
        config.name,
        config.columns,
        dataclasses.asdict(config.fields),
        config.total_votes,
        config.scale,
        config.on_bad_row,
    ]
    key = stored.key(what)
    if found := stored.find(key):
        return FileRows(found[0], found[1]["hashes"], found[1]["bad"], source.licence, source.declared)
    examples, is_stored = stored.collect(_examples(source.rows, task, config, bad), key)
    task.check_columns(columns, config.fields, path)
    if bad.count and config.on_bad_row == "stop":
        raise UserError(f"{bad.message(path)}\n{DROP}" if bad.count > 1 else f"{bad.message(path)}; {DROP}")
    if not examples:
        raise UserError(f"{path}: holds no rows" + (f" but bad ones. {bad.message(path)}" if bad.count else ""))
    if bad.count:
        console.info(f"left out: {bad.message(path)}")
    _check_ids(examples, path)
    hashes = source.hashes() | (items.hashes() if items else {})
    if is_stored:
        stored.complete(key, {"hashes": hashes, "bad": bad.count})
    return FileRows(examples, hashes, bad.count, source.licence, source.declared)
