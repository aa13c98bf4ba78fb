"""Reads questions, options and votes from rows of any table. The config names the columns, so no code is needed."""

import dataclasses
import difflib
import functools
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.runtime.files import expanded
from moral_jax.runtime.strict_json import is_number
from moral_jax.tasks import people, tables, tally
from moral_jax.tasks.rows import PLACEHOLDER, Columns, Row, described, filled, number_text
from moral_jax.types import Example, UserError

EACH, EACH_WORDS = "{each}", "{each words}"  # what stands for a question of a row in the settings
ROLES = ("system", "user", "assistant")
MOST_OPTIONS = 1000  # scored in as many orders as there are options, so that work grows with the square
LEADING = re.compile(r"[+-]?\d+(\.\d+)?")


def _option(value: Any) -> str:
    """Returns the text of an option, or "" if there is none.

    Options may be numbers (points of a scale), and some data sets wrap each text in a list of one.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if is_number(value):
        return number_text(value)
    return value.strip() if isinstance(value, str) else ""


def _visible(option: str) -> str:
    """Returns the option normalised (NFC) without invisible format characters: options that look equal become equal."""
    if option.isascii():
        return option
    return "".join(c for c in unicodedata.normalize("NFC", option) if unicodedata.category(c) != "Cf")


def _options(row: Row, setting: str) -> tuple[str, ...]:
    """Returns the options: the templates in `setting` separated by "|", or else the list in the field of that name."""
    values: list[Any] = [filled(row, t) for t in setting.split("|")] if "|" in setting else row.items(setting)
    if not 2 <= len(values) <= MOST_OPTIONS:
        raise row.error(setting, values, f"at least two options, and at most {MOST_OPTIONS}")
    options = [row.clean(setting, _option(v)) for v in values]
    if not all(map(_visible, options)):
        raise row.error(setting, values, "at least two options, each a number or a non-empty string")
    if len(set(map(_visible, options))) < len(options):
        raise row.error(setting, options, "options that all differ")
    return tuple(options)


def messages_of(row: Row, field: str) -> tuple[dict[str, str], ...]:
    """Returns the turns of a conversation; empty if the field is missing."""
    if not field or row.get(field) is None:
        return ()
    turns = row.items(field)
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("role") not in ROLES or not isinstance(turn.get("content"), str):
            raise row.error(field, turn, f"turns like {{'role': {' | '.join(ROLES)}, 'content': TEXT}}")
        row.clean(field, turn["content"])
    return tuple({"role": t["role"], "content": t["content"]} for t in turns)


def positions(options: tuple[str, ...]) -> tuple[float, ...]:
    """Returns the places of the options on a scale: the number that each begins with, or else 0, 1, 2 ..."""
    numbers = [LEADING.match(option) for option in options]
    if all(numbers):
        found = tuple(float(number[0]) for number in numbers if number)
        if len(set(found)) == len(found):
            return found
    return tuple(map(float, range(len(options))))


@functools.lru_cache(maxsize=64)
def questions_of(fields: FieldsConfig) -> tuple[tuple[str, FieldsConfig], ...]:
    """Returns name and settings of each question of a row, with "{each}" filled in; a single one has no name."""
    out = []
    for part in fields.each.split("|"):
        name, _, words = part.partition("=")
        values = {
            key: value.replace(EACH, name).replace(EACH_WORDS, words or name)
            for key, value in dataclasses.asdict(fields).items()
        }
        out.append((name, FieldsConfig(**values | {"each": ""})))
    return tuple(out)


def id_of(row: Row, fields: FieldsConfig) -> str:
    """Returns the name of a row: the template's, the item's where a row is one vote, or else the line."""
    if fields.vote:
        return people.item_of(row, fields.item)
    return filled(row, fields.id) or f"line {re.split('[: ]', row.where)[-1]}"


def _question(row: Row, name: str, fields: FieldsConfig, config: TaskConfig) -> Example:
    """Returns one question of a row; `name` tells it from the row's others."""
    options = _options(row, fields.options)
    question, text, title = filled(row, fields.question), filled(row, fields.text), filled(row, fields.title)
    messages = messages_of(row, fields.messages)
    if not (question or text or messages):
        raise row.error(
            "text", None, f"something to judge in {fields.text!r}, {fields.question!r} or {fields.messages!r}"
        )
    item, of_people = id_of(row, fields), people.groups_of(row, fields.by)
    key, group = filled(row, fields.key), filled(row, fields.group)
    groups = {PLACEHOLDER.sub(r"\1", fields.group): group} if group else {}
    one_of_several = [f"item {item}"] if name or of_people else []  # the item's other questions and groups share it
    return Example(
        id=" ".join([item, *([name] if name and EACH not in config.fields.id else []), *of_people.values()]),
        question=question,
        title=title,
        text=text,
        options=options,
        counts=tally.votes(row, name, fields, options, config.total_votes),
        keys=tuple(([key] if key else []) + one_of_several),
        groups=groups | ({"question": name} if name else {}) | of_people,
        messages=messages,
        positions=positions(options) if config.scale else (),
    )


def examples(row: Row, config: TaskConfig) -> list[Example]:
    """Returns the questions of one row, one for each name in `fields.each`; of people, those that anybody answered.

    Raises:
      UserError: a field is missing or wrong. The message names file, line and field.
    """
    asked = questions_of(config.fields)
    if config.fields.vote:
        asked = tuple((name, fields) for name, fields in asked if name in row.values[tally.VOTES])
    return [_question(row, name, fields, config) for name, fields in asked]


def by_item(rows: Iterable[Row | UserError], config: TaskConfig) -> Iterable[Row | UserError]:
    """Returns the rows that `examples` reads: where a row is one person's vote, one per item and group."""
    fields = config.fields
    if not fields.vote:
        return rows
    if config.items_path:
        rows = people.with_texts(rows, tables.rows(expanded(config.items_path), Columns()), fields)
    asked = questions_of(fields)
    templates = [t for _, f in asked for t in (f.question, f.title, f.text, f.options, f.key, f.group)]
    shown = dict.fromkeys(name for template in templates for name in PLACEHOLDER.findall(template))
    return people.counted(rows, asked, list(shown))


def check_columns(columns: Columns, fields: FieldsConfig, path: str) -> None:
    """Raises UserError if a setting names a column that no row has.

    Columns that only a default names may be absent, as long as prompts show any column at all.
    """
    defaults = {f.name: f.default for f in dataclasses.fields(FieldsConfig)}
    values = dataclasses.asdict(fields)
    for column in columns.missing:
        settings = [s for s, value in values.items() if column in (*value.split("|"), *PLACEHOLDER.findall(value))]
        chosen = [s for s in settings if values[s] != defaults[s] or s in ("options", "counts")]
        if chosen or not settings:
            raise _no_column(path, column, chosen, values, columns)
    templates = "".join(values[setting] for setting in ("question", "title", "text"))
    shown = [name for name in PLACEHOLDER.findall(templates) if name in columns.asked]
    if shown and not {*shown, fields.messages} & columns.found:
        raise _no_column(path, shown[-1], ["text"], values, columns)


def _no_column(path: str, column: str, settings: list[str], values: dict[str, str], columns: Columns) -> UserError:
    near = difflib.get_close_matches(column, columns.names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    setting = f" (config.task.fields.{settings[0]}={values[settings[0]]!r})" if settings else ""
    return UserError(f"{path}: no row has the column {column!r}{setting}; {hint}columns: {described([*columns.names])}")
