"""JSON that somebody else may have written: read strictly, or refused with its place and the reason. No jax."""

import collections
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moral_jax.types import UserError

MAX_JSON_BYTES = (
    100_000_000  # bytes of one JSON object; the largest that are honest (tokenizers, indices) have a third of it
)


# No text at all: NUL, halves of surrogate pairs. Text that is shown as other than it is: embeddings, overrides and
# isolates of direction (what right-to-left scripts need, U+200E and U+200F, is fine).
FORBIDDEN = re.compile("[\0\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def forbidden_character(text: str) -> str | None:
    """Which character a text should not hold, in words; None if there is none."""
    bad = FORBIDDEN.search(text)
    if bad is None:
        return None
    return f"the character U+{ord(bad[0]):04X} at place {bad.start() + 1}, which is no text or hides what the text says"


def shown(value: Any) -> str:
    """A value for an error: one short line, whatever it is."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        [(key, _)] = collections.Counter(key for key, _ in pairs).most_common(1)
        raise UserError(f"the key {shown(key)} stands there twice")
    return values


def parse(text: bytes | str, where: str) -> dict[str, Any]:
    """Parses a JSON object in which no key stands twice.

    Raises:
      UserError: it is none; names `where`. Numbers of thousands of digits and objects within thousands of others, which
        Python's reader gives up on, are none either.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as e:
        raise UserError(f"{where}: not valid JSON ({e}); expected one JSON object") from e
    except UserError as e:
        raise UserError(f"{where}: {e}") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: found {type(value).__name__}, expected a JSON object")
    return value


def read(path: Path) -> dict[str, Any]:
    """The JSON object that a file is.

    Raises:
      UserError: there is no such file, or it holds no JSON object.
    """
    try:
        if not path.is_file():  # nor a pipe or a device, which may have no end
            raise UserError(f"{path}: no such file")
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise UserError(f"{path}: has {size} bytes; expected a JSON object of at most {MAX_JSON_BYTES}")
        return parse(path.read_bytes(), str(path))
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file that has one a line, each with its place; errors as of `read`."""
    try:
        with path.open("rb") as f:
            for number, line in enumerate(f, 1):
                yield f"{path}:{number}", parse(line, f"{path}:{number}")
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number that arrays can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300
