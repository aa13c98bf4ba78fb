"""The answers to a questionnaire: records.jsonl, a record for each respondent, row and condition.

A record is that of `runs.records` and says besides who answered (`respondent`), which `row` was asked under which
`condition`, and what tallies need: `traits` of the condition, `tags` and `labels` of each option, the right option
(`gold`), whether the scale runs the other way (`reverse`). Records are appended as they come, so that a killed run goes
on. Another program may write such a file: what it must hold is said by `read`.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from moral_jax.runs.records import Record, are_numbers, are_orders, are_shares
from moral_jax.runtime import strict_json
from moral_jax.runtime.files import storage_errors
from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.types import UserError

RECORDS = "records.jsonl"
NOBODY = "model"  # who answered, where a file does not say
DEFAULTS: dict[str, Any] = {
    "respondent": NOBODY, "question": "", "title": "", "text": "", "counts": None, "condition": {}, "traits": {},
    "tags": [], "labels": {}, "labelled": {}, "gold": None, "reverse": False, "groups": {}, "positions": [],
    "messages": [], "option_mass": None,
}  # fmt: skip


def append(path: Path, records: Sequence[Record]) -> None:
    """Adds records to a file, so that a kill leaves at most one cut line."""
    lines = "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    with storage_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def mend(path: Path) -> None:
    """Removes a last line that was cut by a kill, and ends one that only lacks its end."""
    with storage_errors(path):
        content = path.read_bytes() if path.exists() else b""
        if not content or content.endswith(b"\n"):
            return
        begins = content.rfind(b"\n") + 1
        try:
            json.loads(content[begins:])
        except ValueError:
            os.truncate(path, begins)
        else:
            with path.open("ab") as file:
                file.write(b"\n")


def is_texts(value: Any) -> bool:
    """Returns true for an object whose values are texts."""
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _are_tags(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) in (0, count) and all(map(_are_texts, value))


def _faults(row: Record, count: int) -> Iterator[tuple[str, str]]:
    """Yields the fields of a record that hold something else than they should, and what that is."""
    if not isinstance(row["row"], str):
        yield "row", "the name of the row, a text"
    if not are_shares(row.get("probabilities"), count):
        yield "probabilities", f"{count} numbers, none negative, not all zero"
    if not are_orders(row["orders"], count):
        yield "orders", f"a list of objects with an order of {count} options, and their probabilities"
    if row["counts"] is not None and not are_shares(row["counts"], count):
        yield "counts", f"null or {count} numbers, not all zero"
    if row["gold"] is not None and (type(row["gold"]) is not int or not 0 <= row["gold"] < count):
        yield "gold", "null, an option, or its place from 0"
    if not isinstance(row["reverse"], bool):
        yield "reverse", "true or false"
    if not isinstance(row["respondent"], str):
        yield "respondent", "a text"
    for field in ("condition", "groups"):
        if not is_texts(row[field]):
            yield field, "an object of texts"
    if not isinstance(row["traits"], dict) or not all(map(is_texts, row["traits"].values())):
        yield "traits", "an object: axis -> an object of texts"
    if not _are_tags(row["tags"], count):
        yield "tags", f"a list of {count} lists of texts"
    labels = row["labels"]
    if not isinstance(labels, dict) or not all(_are_tags(of, count) for of in labels.values()):
        yield "labels", f"an object: column -> a list of {count} lists of texts"
    if row["positions"] != [] and not are_numbers(row["positions"], count):
        yield "positions", f"{count} numbers"
    if not isinstance(row["labelled"], dict) or not all(are_numbers(of, 2) for of in row["labelled"].values()):
        yield "labelled", "an object: column -> how many tags have a label, and how many there are"
    for field in ("question", "title", "text"):
        if not isinstance(row[field], str):
            yield field, "a text"
    if row["option_mass"] is not None and not is_number(row["option_mass"]):
        yield "option_mass", "null or a number"


def read(path: Path) -> list[Record]:
    """Reads answers, this project's or another's: a JSON object a line with at least row, options and probabilities.

    Shares are brought to a sum of 1. What is left out is as in `DEFAULTS`; without `orders`, the row was asked in one.

    Raises:
      UserError: a line is no such record, or a respondent's answer comes twice; names line and field.
    """
    return each_once(path, _checked, identity, said_of("answered"))


def _checked(where: str, row: Record) -> Record:
    """Returns a line as a whole record."""
    options = row.get("options")
    if not (isinstance(options, list) and _are_texts(options) and len(options) > 1):
        raise UserError(f"{where}: field 'options': found {shown(options)}, expected a list of texts")
    row = {**DEFAULTS, "row": row.get("id"), **row}
    if isinstance(row["gold"], str) and row["gold"] in options:
        row["gold"] = options.index(row["gold"])
    given = {"order": list(range(len(options))), "probabilities": row.get("probabilities"), "log_mass": None}
    row.setdefault("orders", [given])
    for field, expected in _faults(row, len(options)):
        raise UserError(f"{where}: field {field!r}: found {shown(row.get(field))}, expected {expected}")
    for shares in (row, *row["orders"]):
        total = sum(shares["probabilities"])
        shares["probabilities"] = [p / total for p in shares["probabilities"]]
    return row


def each_once(
    path: Path,
    checked: Callable[[str, Record], Record],
    key_of: Callable[[Record], tuple[Any, ...]],
    said: Callable[[Record], str],
) -> list[Record]:
    """Returns the records of a file.

    Args:
      checked: (place, line) -> the whole record; raises UserError for what is none.
      key_of: what no two records share.
      said: what an earlier record with the same key says, for errors.

    Raises:
      UserError: there is none, a line is none, or two share their key.
    """
    records, seen = [], set()
    for where, line in strict_json.read_lines(path):
        row = checked(where, line)
        key = key_of(row)
        if key in seen:
            raise UserError(f"{where}: {said(row)} already")
        seen.add(key)
        records.append(row)
    if not records:
        raise UserError(f"{path}: holds no records")
    return records


def said_of(did: str) -> Callable[[Record], str]:
    """Returns what says that a respondent has done something to a row."""
    return lambda r: f"{r['respondent']} has {did} row {r['row']!r} under {identity(r)[2]}"


def identity(record: Record) -> tuple[str, str, str]:
    """Returns what no two records of a file share: respondent, row and condition."""
    return record["respondent"], record["row"], condition_name(dict(sorted(record["condition"].items())))


def condition_name(condition: dict[str, str]) -> str:
    """Returns a condition as it is written, "policy=virtue-0; persona=nurse"; axes that add nothing are left out, and
    "none" stands where none adds anything: an axis that comes later changes no name."""
    return "; ".join(f"{axis}={name}" for axis, name in condition.items() if name != "none") or "none"
