"""Questions from a person: lines of text or JSON in, a distribution for each out."""

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from moral_jax.config.task import FieldsConfig
from moral_jax.runs.records import Record
from moral_jax.runtime.strict_json import parse as parse_json
from moral_jax.tasks.rows import Row, lines
from moral_jax.tasks.votes import example
from moral_jax.types import Example, UserError

BAR = 30
SEPARATOR = "|"


def parse(line: str, where: str) -> Example:
    """Reads `question | option | option ...`, or an object with "question", "options" and maybe "text".

    Raises:
      UserError: fewer than two options, or no question; names the line.
    """
    if line.lstrip().startswith("{"):
        values = parse_json(line, where)
    else:
        question, *options = [part.strip() for part in line.split(SEPARATOR)]
        if not question or len(options) < 2:
            raise UserError(f"{where}: expected 'question | option | option', found {line.strip()!r}")
        values = {"question": question, "options": options}
    options = values.get("options")
    counts = [1] * len(options) if isinstance(options, list) else None  # nobody voted yet
    return example(Row({"id": where} | values | {"counts": counts}, where), FieldsConfig(), None)


def read(stream: BinaryIO, name: str) -> Iterator[Example]:
    """One example per line that is not blank."""
    return (parse(line, where) for where, line in lines(stream, name))


def _printable(text: str) -> str:
    """The text without what would tell a terminal to do something."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) == "Cc" and c != "\n" else c for c in text)


def as_text(record: Record) -> str:
    """A bar per option, and how much of its belief the model puts on the options at all, where they are tokens."""
    width = max(len(o) for o in record["options"])
    said = [_printable(record["question"] or record["text"])]
    for option, p in zip(record["options"], record["probabilities"], strict=True):
        said.append(f"  {_printable(option).ljust(width)}  {'█' * round(BAR * p):<{BAR}}  {p:6.1%}")
    if record["option_mass"] is not None:
        said.append(f"  (probability on the options' tokens: {record['option_mass']:.1%})")
    return "\n".join(said)


def as_json(record: Record) -> str:
    kept = ("id", "question", "text", "options", "probabilities", "option_mass", "entropy", "concentration")
    return json.dumps({k: record[k] for k in kept}, ensure_ascii=False)


def open_input(path: str) -> BinaryIO:
    """A file for reading.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return Path(path).open("rb")
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e
