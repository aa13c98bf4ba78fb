"""Replies of `moral-jax generate` on disk: replies.jsonl, a reply a line, appended as prompts come to an end.

A line says which `row` of the prompts it replies to, counted from 0, and which `sample` it is. So a killed command goes
on with the rows that lack replies. At the end the lines are put in the order of the rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moral_jax.runs import answers
from moral_jax.runs.records import Record
from moral_jax.runtime import files
from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError

REPLIES = "replies.jsonl"


def lines_of(row: int, samples: Sequence[Any]) -> list[Record]:
    """Returns the lines of a row's replies, which are named tuples."""
    return [{"row": row} | sample._asdict() for sample in samples]


def append(folder: Path, lines: Sequence[Record]) -> None:
    """Adds the replies to a row."""
    answers.append(folder / REPLIES, lines)


def _place(line: Record) -> tuple[int, int]:
    return line["row"], line["sample"]


def _checked(where: str, line: Record) -> Record:
    for field in ("row", "sample"):
        if type(line.get(field)) is not int or line[field] < 0:
            raise UserError(f"{where}: field {field!r}: found {shown(line.get(field))}, expected a number from 0")
    return line


def begun(folder: Path, samples: int) -> dict[int, list[Record]]:
    """Returns the rows that have all their replies, and these; removes replies of a row that a kill has cut.

    Args:
      samples: replies of a row.

    Raises:
      UserError: a line is no reply, or one comes twice; names the line.
    """
    path = folder / REPLIES
    answers.mend(path)
    if not path.exists() or not path.stat().st_size:
        return {}
    lines = answers.each_once(path, _checked, _place, lambda r: f"reply {r['sample']} to row {r['row']} is there")
    found: dict[int, list[Record]] = {}
    for line in sorted(lines, key=_place):
        found.setdefault(line["row"], []).append(line)
    whole = {row: of for row, of in found.items() if len(of) == samples}
    if len(whole) < len(found):
        files.write_jsonl(path, [line for of in whole.values() for line in of])
    return whole


def finish(folder: Path, samples: int) -> None:
    """Puts all replies in the order of the rows."""
    files.write_jsonl(folder / REPLIES, [line for of in begun(folder, samples).values() for line in of])
