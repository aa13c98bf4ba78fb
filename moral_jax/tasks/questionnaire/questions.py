"""Reads the questions of a questionnaire.

rows.jsonl has one object a line: id, text, title, question, options, counts, messages, tags (a list for each option),
gold, reverse, group, variables and key (what it shares with others). Any other table is read as [fields] of task.toml
says. What `votes` knows of votes, groups and several questions in a row holds here too; only that nobody needs to have
voted.
"""

import dataclasses
import fnmatch
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.runtime import console
from moral_jax.runtime.files import expanded
from moral_jax.tasks import hub, reading, votes
from moral_jax.tasks.questionnaire.folder import NATIVE_FIELDS, Folder, TableFields
from moral_jax.tasks.rows import PLACEHOLDER, Columns, Row, as_text, described, filled, is_empty, parsed
from moral_jax.types import Example, UserError

NATIVE = (
    "id", "text", "title", "question", "options", "counts", "messages", "tags", "gold", "reverse", "group", "variables",
    "key",
)  # fmt: skip
COLUMNS = ("tags", "gold", "reverse", "counts", "labels", "total")  # settings of [fields] that name columns
OPTIONS, NOBODY, TAGS = "options", "(nobody has voted)", "(tags)"  # columns that are added to a row


class Question(NamedTuple):
    """One question, and what tallies know of it."""

    example: Example
    where: str
    has_votes: bool
    tags: tuple[tuple[str, ...], ...]  # of each option; empty if the row has none
    gold: int | None  # the option that is right
    reverse: bool  # the scale runs the other way
    variables: dict[str, str]  # what conditions may name
    notes: dict[str, Any] = {}  # what its record says besides


def texts_of(row: Row, field: str, value: object) -> dict[str, str]:
    """Returns an object of texts."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise row.error(field, value, "an object of texts")
    return {name: row.clean(field, text) for name, text in value.items()}


def option_at(row: Row, field: str, value: object, options: tuple[str, ...]) -> int | None:
    """Returns the place of an option that is named by its text; None where nothing is named."""
    if is_empty(value):
        return None
    if as_text(value) not in options:
        raise row.error(field, value, f"one of the options: {', '.join(map(repr, options))}")
    return options.index(as_text(value))


def _list(row: Row, field: str, value: object) -> tuple[str, ...]:
    """Returns tags: of a list, or of a text with commas."""
    value = parsed(value)
    if is_empty(value):
        return ()
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise row.error(field, value, "a list of tags, or tags with commas between them")
    return tuple(tag.strip() for tag in value if tag.strip())


def _begins(row: Row, start: str) -> tuple[str, ...]:
    """Returns NAME=VALUE of all columns STARTNAME."""
    return tuple(f"{c.removeprefix(start)}={as_text(row.get(c))}" for c in row.values if c.startswith(start))


def _tags(row: Row, setting: str, count: int) -> tuple[tuple[str, ...], ...]:
    """Returns the tags of each option; empty where the row has none."""
    columns = setting.split("|")
    if setting.endswith("*"):
        found = tuple(_begins(row, column.removesuffix("*")) for column in columns)
    elif len(columns) > 1:
        found = tuple(_list(row, column, row.get(column)) for column in columns)
    elif row.get(setting) is None:
        return ()
    else:
        found = tuple(_list(row, setting, of_option) for of_option in row.items(setting, count))
    if len(found) != count:
        raise row.error(setting, [list(tags) for tags in found], f"tags of {count} options")
    return found


def _with_votes(row: Row, setting: str, options: int) -> tuple[Row, str, bool]:
    """Returns a row in which all options have votes, the column that they are in, and whether anybody gave them."""
    if all(row.get(column) is None for column in setting.split("|")):
        return row.having({NOBODY: [1.0] * options}), NOBODY, False
    return row, setting, True


def questions_of(row: Row, task: Folder, config: TaskConfig) -> Iterator[Question]:
    """Yields the questions of one row.

    Raises:
      UserError: a field is missing or wrong. The message names file, line and field.
    """
    table, fields = task.fields or TableFields(), config.fields
    if "{" in fields.options:
        options = [filled(row, template) for template in fields.options.split("|")]
        row, fields = row.having({OPTIONS: options}), dataclasses.replace(fields, options=OPTIONS)
    elif table.row:
        fields = dataclasses.replace(fields, options=OPTIONS)
    asks_votes = bool(fields.labels or fields.vote)
    has_votes = True
    if not asks_votes:
        count = len(fields.options.split("|")) if "|" in fields.options else len(row.items(fields.options))
        row, counts, has_votes = _with_votes(row, fields.counts, count)
        fields = dataclasses.replace(fields, counts=counts)
    group = row.get("group") if task.fields is None else None
    variables = texts_of(row, "variables", row.get("variables")) if task.fields is None else _cells(row)
    reverse = {"true": True, "false": False, "": False}.get(str(row.get(table.reverse)).lower(), row.get(table.reverse))
    if reverse is not None and not isinstance(reverse, bool):
        raise row.error(table.reverse, reverse, "true or false")
    for example in votes.examples(row, dataclasses.replace(config, fields=fields)):
        if isinstance(group, str) and group:
            group = {"group": group}
        yield Question(
            example._replace(groups=example.groups | texts_of(row, "group", group)),
            row.where,
            has_votes,
            _tags(row, TAGS if TAGS in row.values else table.tags, len(example.options)),
            option_at(row, table.gold, row.get(table.gold), example.options),
            bool(reverse),
            variables,
        )


def _cells(row: Row) -> dict[str, str]:
    """Returns the columns of a table as variables."""
    return {name: as_text(value) for name, value in row.values.items() if isinstance(value, str)}


def _strict(rows: Iterable[Row | UserError]) -> Iterator[Row | UserError]:
    """Yields rows; of one with a field that rows.jsonl does not have, the error."""
    for row in rows:
        try:
            yield row if isinstance(row, UserError) else row.only(NATIVE)
        except UserError as e:
            yield e


def _by_question(rows: Iterable[Row | UserError], fields: TableFields) -> Iterator[Row | UserError]:
    """Yields a row for each question, of a table that has a row for each option."""
    options: dict[str, list[Row]] = {}
    for row in rows:
        if isinstance(row, UserError):
            yield row
        else:
            options.setdefault(filled(row, fields.row), []).append(row)
    for of_question in options.values():
        first, tags = of_question[0], [list(_list(r, fields.tags, r.get(fields.tags))) for r in of_question]
        golds = {as_text(gold) for r in of_question if not is_empty(gold := r.get(fields.gold))}
        if len(golds) > 1:
            yield first.error(fields.gold, sorted(golds), "one right option in all rows of a question")
            continue
        yield first.having(
            {fields.gold: golds.pop() if golds else None}
            | {OPTIONS: [filled(r, fields.option) for r in of_question], TAGS: tags}
        )


def is_native(path: str) -> bool:
    """Returns true for files that are in the format of rows.jsonl by their name."""
    return fnmatch.fnmatch(Path(path).name, "rows*.jsonl")


def _named(setting: str, value: str) -> list[str]:
    """Returns the columns that a setting of [fields] names."""
    if "{" in value:
        return PLACEHOLDER.findall(value)
    return value.split("|") if setting in COLUMNS else []


def _check_columns(path: str, task: Folder, columns: Columns) -> None:
    """Raises UserError if task.toml names a column that the table does not have."""
    if task.fields is None or not columns.names:
        return
    usual = dataclasses.asdict(TableFields()) | dataclasses.asdict(FieldsConfig())
    settings = dataclasses.asdict(task.fields) | dataclasses.asdict(task.votes)
    for setting, value in settings.items():
        for name in _named(setting, value) if value != usual[setting] else ():
            begins = name.endswith("*") and any(c.startswith(name[:-1]) for c in columns.names)
            if not begins and name not in columns.names and name.split(".")[0] not in columns.names:
                known = described([c for c in columns.names if not c.startswith("(")])
                raise UserError(f"{path}: no column {name!r} (fields.{setting}={value!r}); columns: {known}")


def _rows(path: str, task: Folder, config: TaskConfig, columns: Columns) -> Iterable[Row | UserError]:
    """Returns a row for each question, or for each that a row asks."""
    rows: Iterable[Row | UserError] = reading.opened(path, columns, "rows", "--rows").rows
    rows = console.progress(rows, desc="reading rows", unit="row", delay=3, leave=False)
    if task.fields is None:
        return _strict(rows)
    return _by_question(rows, task.fields) if task.fields.row else votes.by_item(rows, config)


def _of_file(path: str, task: Folder, bad: reading.BadRows) -> Iterator[Question]:
    """Yields the questions of a file; notes the bad rows."""
    if is_native(path):
        task = dataclasses.replace(task, fields=None, votes=NATIVE_FIELDS)
    config = TaskConfig(name="votes", fields=task.votes, scale=task.scale)
    columns = Columns()
    for row in _rows(path, task, config, columns):
        if isinstance(row, UserError):
            bad.add(row)
            continue
        try:
            yield from questions_of(row, task, config)
        except UserError as e:
            _check_columns(path, task, columns)
            bad.add(e)
    _check_columns(path, task, columns)


def paths_of(task: Folder) -> list[str]:
    """Returns the files of a folder's rows; a path or a data set of the hub as it is."""
    if expanded(task.rows).is_absolute():
        return [task.rows]
    own = sorted(map(str, task.path.glob(task.rows)))
    return own or [task.rows if hub.parse(task.rows) else str(task.path / task.rows)]


def read(task: Folder, path: str | None = None, *, drops_bad: bool = False) -> list[Question]:
    """Reads the questions of a questionnaire.

    Args:
      path: a table in place of the folder's own. As every table that is not named rows*.jsonl, it is read as [fields]
        says, if task.toml has them.
      drops_bad: leave bad rows out, and say which.

    Raises:
      UserError: a file is missing, rows are bad (names the first twenty), or two have one id.
    """
    paths = [path] if path is not None else paths_of(task)
    bad = reading.BadRows()
    found: list[Question] = []
    for name in paths:
        found += _of_file(name, task, bad)
    bad.settle(found, " ".join(paths), drops=drops_bad)
    check_ids(found)
    return found


def check_ids(questions: list[Question]) -> None:
    seen: dict[str, str] = {}
    for question in questions:
        name = question.example.id
        if name in seen:
            raise UserError(f"{question.where}: the id {name!r} appears in {seen[name]} already; ids must differ")
        seen[name] = question.where
