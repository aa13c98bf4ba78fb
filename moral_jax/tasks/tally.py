"""Reads the votes of a row in the shapes that data sets have, as counts in the order of the options.

| shape | settings (`task.fields`) | value |
|---|---|---|
| counts or shares | counts=votes | [3, 1] |
| a column per option | counts=yes\\|no | 3 and 1 |
| by label | counts=soft_label | {"1": 0.75, "0": 0.25}; a label that is absent has none |
| labels that people gave | labels=annotations | ["1", "0"], "1,0", or {"Ann1": "1", "Ann2": "0"} |

A label is the text of its option, or its code where `codes` names them. `total` says how many people stand behind
shares.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from moral_jax.config.task import FieldsConfig
from moral_jax.runtime.strict_json import is_number
from moral_jax.tasks.rows import NUMBER, Row, is_empty, number_text, parsed
from moral_jax.types import UserError

VOTES = "(votes of people)"  # the column that `people` adds; brackets, so that no file's column is taken for it
WHOLE = 1e-6  # of a count: floating-point error of a share times a total
ROUNDED = 0.005  # of a share: error of two decimals
MOST_ROUNDED = 50  # people: beyond, two decimals no longer tell how many votes a share is


def code(value: Any) -> str:
    """Returns a label in one spelling: 1, 1.0 and "1.0" are "1"; true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if is_number(value):
        return number_text(value)
    text = str(value).strip()
    return number_text(float(text)) if NUMBER.fullmatch(text) and abs(float(text)) < 1e300 else text


def labels_in(value: Any) -> list[str]:
    """Returns the labels in a list, in a text with commas, or in an object person -> label; empty ones left out."""
    value = parsed(value)
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple):
        value = [value]
    return [code(label) for label in value if not is_empty(label)]


@functools.lru_cache(maxsize=1024)
def _places(names: tuple[str, ...]) -> dict[str, int]:
    return {code(name): place for place, name in enumerate(names)}


def _names(fields: FieldsConfig, options: tuple[str, ...]) -> tuple[str, ...]:
    """Returns what the data call the options, in their order."""
    return tuple(fields.codes.split("|")) if fields.codes else options


def _by_label(
    row: Row, setting: str, votes: Iterable[tuple[str, Any]], fields: FieldsConfig, options: tuple[str, ...]
) -> tuple[float, ...]:
    """Returns the votes of labels in the order of the options."""
    names = _names(fields, options)
    if len(names) != len(options):
        raise UserError(
            f"config.task.fields.codes={fields.codes!r}: names {len(names)} labels, but {row.where} has {len(options)} "
            f"options; write one for each, in their order"
        )
    places, ignored = _places(names), _places(tuple(fields.ignore.split("|")) if fields.ignore else ())
    counts: list[float] = [0.0] * len(options)
    for label, number in votes:
        if label in places:
            counts[places[label]] += 0.0 if is_empty(number) else row.vote(setting, number)
        elif label not in ignored and not is_empty(number):
            known = ", ".join(map(repr, places))
            raise row.error(setting, label, f"one of {known} (labels that are no vote: config.task.fields.ignore)")
    return row.votes(setting, counts)


def _counts(row: Row, name: str, fields: FieldsConfig, options: tuple[str, ...]) -> tuple[float, ...]:
    """Returns the numbers that stand in the row: counts or shares."""
    if fields.vote:
        return _by_label(row, fields.vote, row.values[VOTES][name].items(), fields, options)
    if fields.labels:
        said = row.get(fields.labels)
        is_one = isinstance(said, str) and code(said) in _places(_names(fields, options))  # with its commas
        votes = Counter([code(said)] if is_one else labels_in(said))
        if not votes:
            raise row.error(fields.labels, said, "at least one label")
        return _by_label(row, fields.labels, votes.items(), fields, options)
    setting = fields.counts
    columns = setting.split("|")
    if len(columns) > 1:
        values = [row.get(column) for column in columns]
    else:
        value = parsed(row.get(setting))
        if isinstance(value, Mapping):
            return _by_label(row, setting, ((code(k), v) for k, v in value.items()), fields, options)
        if not isinstance(value, list | tuple):
            raise row.error(setting, value, "a list of votes, or an object label -> votes")
        values = list(value)
    if len(values) != len(options):
        raise row.error(setting, values, f"{len(options)} numbers, one per option")
    return row.votes(setting, values)


def _scaled(counts: tuple[float, ...], total: float) -> tuple[float, ...]:
    """Returns counts that sum to `total`; whole ones where they are whole but for the rounding of shares."""
    scaled = [c * total / sum(counts) for c in counts]
    whole = [float(round(c)) for c in scaled]
    error = max(abs(c - w) for c, w in zip(scaled, whole, strict=True))
    allowed = ROUNDED * total + WHOLE if total <= MOST_ROUNDED else WHOLE * total
    return tuple(whole if error <= allowed and sum(whole) == total else scaled)


def votes(
    row: Row, name: str, fields: FieldsConfig, options: tuple[str, ...], total: float | None
) -> tuple[float, ...]:
    """Returns the votes of the options.

    Args:
      row: the row.
      name: which of its questions.
      fields: where its votes stand, and in which shape.
      options: the options of the row.
      total: number of votes that every row is scaled to; None if `fields.total`, or the counts themselves, say it.

    Raises:
      UserError: there are no votes, a number is none, or a label is no option's.
    """
    counts = _counts(row, name, fields, options)
    if fields.total:
        total = row.vote(fields.total, row.get(fields.total))
        if total <= 0:
            raise row.error(fields.total, total, "a positive number of people")
    return counts if total is None else _scaled(counts, total)
