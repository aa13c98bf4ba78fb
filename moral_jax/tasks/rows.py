"""One row of a file, with checked access to its fields. Errors name the place, field, value found and value expected.

A field is named by its column, whatever characters the name has; "a.b" reaches into the object in column a, also where
that object stands as JSON (or as Python prints it) inside a text, as spreadsheets keep it. `Columns` notes which names
were asked for and which exist, so that a name that no row has is found.
"""

import ast
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from moral_jax.runtime.strict_json import forbidden_character, is_number, shown
from moral_jax.types import UserError

MOST_VOTES = 1e10  # more than there are people
LEAST_VOTES = 1e-6  # sum over a row: a smaller sum vanishes in float32 arithmetic
LARGEST_WHOLE = 2**53  # beyond, float64 has no odd numbers
PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclasses.dataclass
class Columns:
    """The columns of a file: those that rows have, and which names were asked for and found."""

    given: tuple[str, ...] = ()  # of a CSV or TSV file without a header
    names: dict[str, None] = dataclasses.field(default_factory=dict)  # an ordered set
    asked: dict[str, None] = dataclasses.field(default_factory=dict)
    found: set[str] = dataclasses.field(default_factory=set)

    @property
    def missing(self) -> list[str]:
        """The names that were asked for, and that no row has."""
        return [name for name in self.asked if name not in self.found]


def is_empty(value: Any) -> bool:
    """Returns True for what stands in a cell without content: nothing, NaN or blanks."""
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )


def number_text(value: float) -> str:
    """Returns a number as people write it, with all its digits: 1234567, 0.1234567, and 3 for 3.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_WHOLE:
        return str(int(value))
    return repr(value)


def as_text(value: Any) -> str:
    """Returns the text of a value in a template: items joined by blanks, "" for an empty cell."""
    if isinstance(value, list | tuple):
        return " ".join(map(as_text, value))
    if is_empty(value):
        return ""
    return number_text(value) if is_number(value) else str(value)


def parsed(value: Any) -> Any:
    """Returns the list or object that a text holds as JSON, or as Python prints it; any other value unchanged."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            inner = parse(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return inner if isinstance(inner, list | dict) else value
    return value


class Row:
    """The values of one row and its place (file:line)."""

    def __init__(self, values: dict[str, Any], where: str, columns: Columns | None = None, typed: bool = True):
        """Args:
        values: the value of each column.
        where: the row's place, for errors.
        columns: the columns of the file, noted here.
        typed: False if the file knows only texts (CSV), so that "3" may be a number.
        """
        self.values, self.where, self.typed = values, where, typed
        self.columns = Columns() if columns is None else columns
        self.columns.names.update(dict.fromkeys(values))

    def having(self, values: dict[str, Any], what: str = "") -> "Row":
        """Returns this row with further values; `what` is added to its place."""
        return Row(self.values | values, self.where + (f" ({what})" if what else ""), self.columns, self.typed)

    def error(self, field: str, found: Any, expected: str) -> UserError:
        """Returns the error that a field has another value than expected."""
        return UserError(f"{self.where}: field {field!r}: found {shown(found)}, expected {expected}")

    def only(self, fields: Sequence[str]) -> "Row":
        """Returns this row; raises UserError if it has a field that is none of these."""
        if unknown := [name for name in self.values if name not in fields]:
            raise UserError(f"{self.where}: field {unknown[0]!r}: no such field; there are {', '.join(fields)}")
        return self

    def get(self, field: str) -> Any:
        """Returns the value of a field, or None if it is missing. A column's own name goes before a path into one."""
        self.columns.asked[field] = None
        value, exists = self._find(self.values, field)
        if exists:
            self.columns.found.add(field)
        return value

    def _find(self, inside: Any, path: str) -> tuple[Any, bool]:
        """Returns the value at a path and whether it exists; names may have dots, so the longest name goes first."""
        inside = parsed(inside)
        if not isinstance(inside, dict):
            return None, False
        if path in inside:
            return inside[path], True
        parts = path.split(".")
        for n in range(len(parts) - 1, 0, -1):
            head, rest = ".".join(parts[:n]), ".".join(parts[n:])
            if head in inside:
                value, exists = self._find(inside[head], rest)
                if exists:
                    return value, True
        return None, False

    def clean(self, field: str, value: str) -> str:
        """Returns the text unchanged; raises UserError if it has characters that are not text or that hide text."""
        if bad := forbidden_character(value):
            raise UserError(f"{self.where}: field {field!r}: holds {bad}; remove it")
        return value

    def text(self, field: str) -> str:
        """Returns a field that is a non-empty string."""
        value = self.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.error(field, value, "a non-empty string")
        return self.clean(field, value)

    def items(self, field: str, count: int | None = None) -> list[Any]:
        """Returns a field that is a list, of `count` items if given."""
        value = parsed(self.get(field))
        if not isinstance(value, list) or (count is not None and len(value) != count):
            raise self.error(field, value, "a list" if count is None else f"a list of {count}")
        return value

    def vote(self, field: str, value: Any) -> float:
        """Returns a number of votes, or a vote share: finite and not negative."""
        if not self.typed and isinstance(value, str) and NUMBER.fullmatch(value.strip()):
            value = float(value)
        if not is_number(value) or not 0 <= value <= MOST_VOTES:
            raise self.error(field, value, f"a finite number of votes, zero or more and at most {MOST_VOTES:.0e}")
        return float(value)

    def votes(self, field: str, values: Iterable[Any]) -> tuple[float, ...]:
        """Returns the votes of all options, which must not all be zero."""
        values = list(values)
        counts = tuple(self.vote(field, v) for v in values)
        if sum(counts) < LEAST_VOTES:
            raise self.error(field, values, "at least one vote")
        return counts


def described(names: Sequence[str]) -> str:
    """Returns names in quotes, at most thirty."""
    return ", ".join(map(repr, names[:30])) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def filled(row: Row, template: str) -> str:
    """Returns the template with each "{column}" replaced by the row's value. A missing field counts as empty."""

    def value(match: re.Match[str]) -> str:
        return row.clean(match[1], as_text(row.get(match[1])))

    return PLACEHOLDER.sub(value, template).strip() if template else ""
