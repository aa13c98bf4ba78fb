"""Reads rows of JSON Lines files. Errors name the file, line, field, the value found, and the value expected."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from moral_jax.runtime.strict_json import forbidden_character, parse, shown
from moral_jax.types import UserError

LONGEST_LINE = 2**22  # bytes: about 700,000 words
CAP_BYTES = 512 * 2**20  # of unpacked data in a compressed file
MOST_VOTES = 1e10  # more than there are people
LEAST_VOTES = 1e-6  # sum over a row: a smaller sum vanishes in float32 arithmetic
BOM = b"\xef\xbb\xbf"


class Row:
    """One JSON object and its place (file:line), with checked access to its fields."""

    def __init__(self, values: dict[str, Any], where: str):
        self.values = values
        self.where = where

    def error(self, field: str, found: Any, expected: str) -> UserError:
        """Returns the error that a field has another value than expected."""
        return UserError(f"{self.where}: field {field!r}: found {shown(found)}, expected {expected}")

    def get(self, field: str) -> Any:
        """Returns the value of a field, or None if it is missing; "a.b" is field b of the object in field a."""
        value: Any = self.values
        for part in field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

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
        value = self.get(field)
        if not isinstance(value, list) or (count is not None and len(value) != count):
            raise self.error(field, value, "a list" if count is None else f"a list of {count}")
        return value

    def vote(self, field: str, value: Any) -> float:
        """Returns a number of votes, or a vote share: finite and not negative."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_VOTES:
            raise self.error(field, value, f"a finite number of votes, zero or more and at most {MOST_VOTES:.0e}")
        return float(value)

    def votes(self, field: str, values: Sequence[Any]) -> tuple[float, ...]:
        """Returns the votes of all options, which must not all be zero."""
        counts = tuple(self.vote(field, v) for v in values)
        if sum(counts) < LEAST_VOTES:
            raise self.error(field, values, "at least one vote")
        return counts


class Stream(Protocol):
    """Bytes that are read by lines."""

    def readline(self, size: int, /) -> bytes: ...


def lines(stream: Stream, name: str, most: float = float("inf")) -> Iterator[tuple[str, str]]:
    """Yields (place, line) for the lines that are not blank. Skips a byte order mark at the beginning.

    Args:
      stream: the bytes of the file, unpacked.
      name: name of the file, for places and errors.
      most: maximum number of bytes in the stream.

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
            raise UserError(f"{where}: unpacks to more than {most} bytes; unpack the file and check what it contains")
        try:
            text = (line.removeprefix(BOM) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as e:
            raise UserError(f"{where}: cannot be read as UTF-8 ({e.reason} at byte {e.start + 1}); convert it") from e
        if text.strip():
            yield where, text


def read_rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a .jsonl or .jsonl.gz file. Skips blank lines.

    Raises:
      UserError: the file is missing, damaged or not UTF-8, or a line is too long or not a JSON object.
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
