"""Values that may be violated: a row has `statement`, and maybe `id`, `foundation`, and a `judge` of its own."""

from typing import NamedTuple

from moral_jax.runtime.files import expanded
from moral_jax.tasks import tables
from moral_jax.tasks.rows import Columns, Row, as_text, is_empty
from moral_jax.types import UserError

FIELDS = ("id", "foundation", "statement", "judge")


class Principle(NamedTuple):
    """A value that completions may violate."""

    id: str
    statement: str
    foundation: str = ""
    judge: str = ""  # as --judge has it; empty: the one of all values


def _of_row(row: Row, number: int) -> Principle:
    row.only(FIELDS)
    foundation, judge = ("" if is_empty(row.get(name)) else row.text(name) for name in FIELDS[1::2])
    return Principle(as_text(row.get("id")) or f"value {number}", row.text("statement"), foundation, judge)


def read(path: str) -> list[Principle]:
    """Returns the values of a table.

    Raises:
      UserError: it cannot be read, a row is bad, two have one id, or there is none; names file, line and field.
    """
    found: list[Principle] = []
    for row in tables.rows(expanded(path), Columns()):
        if isinstance(row, UserError):
            raise row
        value = _of_row(row, len(found) + 1)
        if value.id in [other.id for other in found]:
            raise row.error("id", value.id, "a name that no other value has")
        found.append(value)
    if not found:
        raise UserError(f"{path}: holds no values")
    return found
