"""Reads questions, options and votes from any JSON Lines file. The config names the fields, so no code is needed."""

import re
import unicodedata
from pathlib import Path
from typing import Any

from moral_jax.config.task import FieldsConfig
from moral_jax.tasks.rows import Row, read_rows
from moral_jax.types import Example

PLACEHOLDER = re.compile(r"\{([\w.]+)\}")
ROLES = ("system", "user", "assistant")
MOST_OPTIONS = 1000  # scored in as many orders as there are options, so that work grows with the square


def _fill(row: Row, template: str) -> str:
    """Returns the template with each "{field}" replaced by the row's value. A missing field counts as empty."""

    def value(match: re.Match[str]) -> str:
        content = row.get(match[1])
        if isinstance(content, list):
            content = " ".join(map(str, content))
        return "" if content is None else row.clean(match[1], str(content))

    return PLACEHOLDER.sub(value, template).strip()


def _option(value: Any) -> str:
    """Returns the text of an option, or "" if there is none.

    Options may be numbers (points of a scale), and some data sets wrap each text in a list of one.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}" if abs(value) < 1e300 else ""  # NaN, infinite or too large
    return value.strip() if isinstance(value, str) else ""


def _visible(option: str) -> str:
    """Returns the option normalised (NFC) without invisible format characters: options that look equal become equal."""
    return "".join(c for c in unicodedata.normalize("NFC", option) if unicodedata.category(c) != "Cf")


def _options(row: Row, setting: str) -> tuple[str, ...]:
    """Returns the options: the texts in `setting` separated by "|", or else the list in the field of that name."""
    values: list[Any] = setting.split("|") if "|" in setting else row.items(setting)
    if not 2 <= len(values) <= MOST_OPTIONS:
        raise row.error(setting, values, f"at least two options, and at most {MOST_OPTIONS}")
    options = [row.clean(setting, _option(v)) for v in values]
    if not all(map(_visible, options)):
        raise row.error(setting, values, "at least two options, each a number or a non-empty string")
    if len(set(map(_visible, options))) < len(options):
        raise row.error(setting, options, "options that all differ")
    return tuple(options)


def _counts(row: Row, setting: str, options: tuple[str, ...], total: float | None) -> tuple[float, ...]:
    """Returns the votes of the options, scaled to sum to `total` if given.

    `setting` names one field with a list, or one field per option separated by "|".
    """
    fields = setting.split("|")
    values = [row.get(f) for f in fields] if len(fields) > 1 else row.items(setting)
    if len(values) != len(options):
        raise row.error(setting, values, f"{len(options)} numbers, one per option")
    counts = row.votes(setting, values)
    return counts if total is None else tuple(c * total / sum(counts) for c in counts)


def _messages(row: Row, field: str) -> tuple[dict[str, str], ...]:
    """Returns the turns of a conversation; empty if the field is missing."""
    if row.get(field) is None:
        return ()
    turns = row.items(field)
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("role") not in ROLES or not isinstance(turn.get("content"), str):
            raise row.error(field, turn, f"turns like {{'role': {' | '.join(ROLES)}, 'content': TEXT}}")
        row.clean(field, turn["content"])
    return tuple({"role": t["role"], "content": t["content"]} for t in turns)


def example(row: Row, fields: FieldsConfig, total: float | None) -> Example:
    """Returns the example of one row.

    Args:
      row: the row.
      fields: names of the fields, or templates.
      total: number of votes that shares are scaled to; None if the file has counts.

    Raises:
      UserError: a field is missing or wrong. The message names file, line and field.
    """
    options = _options(row, fields.options)
    question, text = _fill(row, fields.question), _fill(row, fields.text)
    messages = _messages(row, fields.messages)
    if not (question or text or messages):
        raise row.error(
            "text", None, f"something to judge in {fields.text!r}, {fields.question!r} or {fields.messages!r}"
        )
    key, group = _fill(row, fields.key), _fill(row, fields.group)
    return Example(
        id=_fill(row, fields.id) or f"line {row.where.rsplit(':', 1)[-1]}",
        question=question,
        text=text,
        options=options,
        counts=_counts(row, fields.counts, options, total),
        keys=(key,) if key else (),
        groups={PLACEHOLDER.sub(r"\1", fields.group): group} if group else {},
        messages=messages,
    )


def read_votes(path: Path, fields: FieldsConfig, total: float | None) -> list[Example]:
    """Reads all rows of a file."""
    return [example(row, fields, total) for row in read_rows(path)]
