"""What people said of replies: files of labels.

A row has `label`, a number or yes / no, and says of which reply: `id` of the prompt (and `sample`), or the `text` or
`reply` itself. Several rows of one reply are several people: the label is their mean.
"""

from pathlib import Path
from typing import NamedTuple

from moral_jax.judges.base import Judge, Written
from moral_jax.judges.rules import judging
from moral_jax.runtime.files import sha256
from moral_jax.runtime.strict_json import is_number
from moral_jax.tasks.rows import Columns, Row, as_text, is_empty
from moral_jax.tasks.texts import opening
from moral_jax.types import Example, UserError

WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


class Labelled(NamedTuple):
    """A reply that a person has labelled."""

    where: str
    written: Written
    by_text: bool  # the row holds the reply itself
    label: float


def _label(row: Row) -> float:
    value = row.get("label")
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and value.strip().lower() in WORDS:
        return WORDS[value.strip().lower()]
    if isinstance(value, str) and not row.typed:
        try:
            value = float(value)
        except ValueError:
            value = None
    if not is_number(value):
        raise row.error("label", row.get("label"), "a number, or yes or no")
    return float(value)


def _one(row: Row, needs_text: bool) -> Labelled:
    reply = row.get("text") if row.get("reply") is None else row.get("reply")
    by_text = isinstance(reply, str)
    if needs_text and not by_text:
        raise row.error("text", reply, "the reply that the label is about, in 'text' or 'reply'")
    name = as_text(row.get("id"))
    if not by_text and not name:
        raise row.error("id", None, "the id of the prompt, or the reply itself in 'text'")
    text, turns = opening(row, "prompt")
    sample = row.get("sample")
    number = 0 if is_empty(sample) else int(row.vote("sample", sample))
    said = row.clean("text", reply) if isinstance(reply, str) else ""
    example = Example(name or row.where, "", ("",), (1.0,), text=text, messages=tuple(turns))
    return Labelled(row.where, Written(example, text, said, sample=number), by_text, _label(row))


def read(path: str, *, needs_text: bool) -> list[Labelled]:
    """Reads a file of labels.

    Args:
      needs_text: every row must hold the reply itself.

    Raises:
      UserError: the file cannot be read, or a row is bad; names line and field.
    """
    from moral_jax.tasks import reading  # NumPy, which --help need not wait for

    found = []
    for row in reading.opened(path, Columns()).rows:
        if isinstance(row, UserError):
            raise row
        found.append(_one(row, needs_text))
    if not found:
        raise UserError(f"{path}: holds no labels")
    return found


def labels(setting: str, folder: Path, place: str) -> Judge:
    """Returns the judge that says what people said of the same reply; None where nobody did."""
    path = folder / setting
    if not path.exists():
        raise UserError(f"{place}=labels:{setting}: {path} is no file")
    said: dict[tuple[str, ...], list[float]] = {}
    found = read(str(path), needs_text=False)
    for one in found:
        said.setdefault(_key(one.written, one.by_text), []).append(one.label)
    values = [label for of in said.values() for label in of]
    low, high = min(0.0, *values), max(1.0, *values)

    def rule(written: Written) -> float | None:
        of = said.get(_key(written, True)) or said.get(_key(written, False))
        return sum(of) / len(of) if of else None

    identity = sha256(path) if path.is_file() else ""
    return Judge(f"labels:{setting}", judging(rule), (low, high), "label", (low + high) / 2, identity=identity)


def _key(written: Written, by_text: bool) -> tuple[str, ...]:
    return ("text", written.text.strip()) if by_text else ("id", written.id, str(written.sample))
