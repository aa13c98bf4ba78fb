"""JSON lines in, with errors that name the file, the line, the field, what was found and what was expected."""

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moral_jax.types import UserError


class Row:
    """One JSON object and where it stands."""

    def __init__(self, values: dict[str, Any], where: str):
        self.values = values
        self.where = where

    def error(self, field: str, found: Any, expected: str) -> UserError:
        shown = repr(found) if len(repr(found)) <= 80 else repr(found)[:77] + "..."
        return UserError(f"{self.where}: field {field!r}: found {shown}, expected {expected}")

    def get(self, field: str) -> Any:
        """The value of a field; "a.b" reaches into objects. None where it is absent."""
        value: Any = self.values
        for part in field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def text(self, field: str) -> str:
        value = self.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.error(field, value, "a text that is not empty")
        return value

    def items(self, field: str, count: int | None = None) -> list[Any]:
        value = self.get(field)
        if not isinstance(value, list) or (count is not None and len(value) != count):
            raise self.error(field, value, "a list" if count is None else f"a list of {count}")
        return value

    def vote(self, field: str, value: Any) -> float:
        """A number of votes, or a share: finite and not negative."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise self.error(field, value, "a finite number of votes, zero or more")
        return float(value)

    def votes(self, field: str, values: list[Any]) -> tuple[float, ...]:
        counts = tuple(self.vote(field, v) for v in values)
        if sum(counts) <= 0:
            raise self.error(field, values, "at least one vote")
        return counts


def read_rows(path: Path) -> Iterator[Row]:
    """The objects of a .jsonl or .jsonl.gz file; blank lines are passed over.

    Raises:
      UserError: the file is missing, not UTF-8, or a line is not a JSON object.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rt", encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if line.strip():
                    yield Row(_object(line, f"{path}:{number}"), f"{path}:{number}")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as e:
        raise UserError(f"{path}: line {number + 1} cannot be read ({e})") from e


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as e:
        raise UserError(f"{where}: not valid JSON ({e.msg} at column {e.colno})") from e
    if not isinstance(value, dict):
        raise UserError(f"{where}: found {type(value).__name__}, expected a JSON object")
    return value
