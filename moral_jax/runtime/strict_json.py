"""Reads untrusted JSON strictly. Errors name the place and the reason. No jax."""

import collections
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moral_jax.types import UserError

MAX_JSON_BYTES = 100_000_000  # of one JSON object; the largest genuine ones (tokenizers, indices) have a third of this

# Characters that are not text: NUL, surrogates, and those that Unicode leaves to programs (data.control uses one).
NO_TEXT = re.compile("[\0\ud800-\udfff\ufdd0-\ufdef]")
# Directional embeddings, overrides and isolates, which can make text look different from what it says. Real posts hold
# them, because apps put them around names. U+200E and U+200F, which right-to-left scripts need, are not among them.
DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
# These, and control characters of terminals that JSON leaves as they are.
STEERS = re.compile(f"{DIRECTIONS.pattern}|[\x7f-\x9f]")


def _first(pattern: re.Pattern[str], text: str, reason: str) -> str | None:
    match = pattern.search(text)
    return f"the character U+{ord(match[0]):04X} at position {match.start() + 1}, which {reason}" if match else None


def forbidden_character(text: str) -> str | None:
    """Returns a description of the first character in a text that is none, or None."""
    return _first(NO_TEXT, text, "is not text")


def direction_character(text: str) -> str | None:
    """Returns a description of the first character in a text that may hide what it says, or None."""
    return _first(DIRECTIONS, text, "hides what the text says")


def visible(text: str) -> str:
    """Returns a text for a page or a terminal, with what would steer them escaped as in JSON: it looks like it is."""
    return STEERS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def shown(value: Any) -> str:
    """Returns a value's `repr`, cut to 80 characters, for error messages."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the pairs as a dict; raises UserError if a key appears twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        [(key, _)] = collections.Counter(key for key, _ in pairs).most_common(1)
        raise UserError(f"the key {shown(key)} appears twice")
    return values


def parse_value(text: bytes | str, where: str, expected: str = "JSON") -> Any:
    """Parses any JSON value, without duplicate keys in its objects.

    Raises:
      UserError: the text is not JSON. The message names `where`. Numbers with thousands of digits and values nested
        thousands deep, which Python's parser refuses, are errors too.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as e:
        raise UserError(f"{where}: not valid JSON ({e}); expected {expected}") from e
    except UserError as e:
        raise UserError(f"{where}: {e}") from None


def parse(text: bytes | str, where: str) -> dict[str, Any]:
    """Parses a JSON object; raises UserError as `parse_value`, and for any other value."""
    value = parse_value(text, where, "one JSON object")
    if not isinstance(value, dict):
        raise UserError(f"{where}: found {type(value).__name__}, expected a JSON object")
    return value


def read(path: Path) -> dict[str, Any]:
    """Reads a file that contains one JSON object.

    Raises:
      UserError: the file is missing, unreadable, too large, or does not contain one JSON object.
    """
    try:
        if not path.is_file():  # also refuses pipes and devices, which may never end
            raise UserError(f"{path}: no such file")
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise UserError(f"{path}: has {size} bytes; expected a JSON object of at most {MAX_JSON_BYTES}")
        return parse(path.read_bytes(), str(path))
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (file:line, object) for a file with one JSON object per line.

    Raises:
      UserError: the file cannot be read, or a line is not a JSON object.
    """
    try:
        with path.open("rb") as f:
            for number, line in enumerate(f, 1):
                yield f"{path}:{number}", parse(line, f"{path}:{number}")
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e


def is_number(value: Any) -> bool:
    """Returns True if a JSON value is a finite number within the range of float64 arrays."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300
