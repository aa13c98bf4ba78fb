"""JSON lines in, with errors that name the file, the line, the field, what was found and what was expected."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from moral_jax.runtime.strict_json import forbidden_character, parse, shown
from moral_jax.types import UserError

LONGEST_LINE = 2**22  # bytes: some 700,000 words
CAP_BYTES = 512 * 2**20  # of what a compressed file unpacks to
MOST_VOTES = 1e10  # more than there are people
LEAST_VOTES = 1e-6  # of a row together: less is none in float32 arithmetic
BOM = b"\xef\xbb\xbf"


class Row:
    """One JSON object and where it stands."""

    def __init__(self, values: dict[str, Any], where: str):
        self.values = values
        self.where = where

    def error(self, field: str, found: Any, expected: str) -> UserError:
        return UserError(f"{self.where}: field {field!r}: found {shown(found)}, expected {expected}")

    def get(self, field: str) -> Any:
        """The value of a field; "a.b" reaches into objects. None where it is absent."""
        value: Any = self.values
        for part in field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def clean(self, field: str, value: str) -> str:
        """The text, if it holds nothing that is no text or hides what it says."""
        if bad := forbidden_character(value):
            raise UserError(f"{self.where}: field {field!r}: holds {bad}; remove it")
        return value

    def text(self, field: str) -> str:
        value = self.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.error(field, value, "a text that is not empty")
        return self.clean(field, value)

    def items(self, field: str, count: int | None = None) -> list[Any]:
        value = self.get(field)
        if not isinstance(value, list) or (count is not None and len(value) != count):
            raise self.error(field, value, "a list" if count is None else f"a list of {count}")
        return value

    def vote(self, field: str, value: Any) -> float:
        """A number of votes, or a share: finite and not negative."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_VOTES:
            raise self.error(field, value, f"a finite number of votes, zero or more and at most {MOST_VOTES:.0e}")
        return float(value)

    def votes(self, field: str, values: list[Any]) -> tuple[float, ...]:
        counts = tuple(self.vote(field, v) for v in values)
        if sum(counts) < LEAST_VOTES:
            raise self.error(field, values, "at least one vote")
        return counts


def lines(stream: BinaryIO, name: str, most: float = float("inf")) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, each with its place; a byte order mark at the beginning is passed over.

    Args:
      most: bytes of the whole stream.

    Raises:
      UserError: a line is too long, or not UTF-8; or the stream is too long.
    """
    number = total = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number, total = number + 1, total + len(line)
        where = f"{name}:{number}"
        if len(line) > LONGEST_LINE:
            raise UserError(f"{where}: is longer than {LONGEST_LINE} bytes; shorten or split it")
        if total > most:
            raise UserError(f"{where}: unpacks to more than {most} bytes; unpack the file and look what it is")
        try:
            text = (line.removeprefix(BOM) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as e:
            raise UserError(f"{where}: cannot be read as UTF-8 ({e.reason} at byte {e.start + 1}); convert it") from e
        if text.strip():
            yield where, text


def read_rows(path: Path) -> Iterator[Row]:
    """The objects of a .jsonl or .jsonl.gz file; blank lines are passed over.

    Raises:
      UserError: the file is missing, not UTF-8, or a line is not a JSON object.
    """
    is_packed = path.suffix == ".gz"
    try:
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        with gzip.open(path, "rb") if is_packed else path.open("rb") as f:
            for where, line in lines(f, str(path), CAP_BYTES if is_packed else float("inf")):
                yield Row(parse(line, where), where)
    except (OSError, EOFError, zlib.error) as e:
        raise UserError(f"{path}: cannot be read ({getattr(e, 'strerror', None) or e}); fetch or write it again") from e
