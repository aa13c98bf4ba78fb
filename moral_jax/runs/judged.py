"""Replies that were judged: records.jsonl of a folder of prompts, a record for each respondent, row and condition.

A record says who answered (`respondent`), which `row` was asked under which `condition`, and holds its `replies`, each
with what every judge says of it (`judgements`: a number, or null where a judge cannot say). Texts are left out where
rows ask for harm. Records are appended as they come, as those of `runs.answers`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moral_jax.runs.answers import identity
from moral_jax.runs.records import Record
from moral_jax.runs.reply_records import is_known, is_prompt
from moral_jax.runtime import strict_json
from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError

DEFAULTS: dict[str, Any] = {
    "respondent": "model", "condition": {}, "traits": {}, "groups": {}, "prompt": None, "unit": "", "asked": "",
}  # fmt: skip
TURN = "turn"  # the axis of what the user says one after the other


def _is_reply(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("judgements"), dict):
        return False
    text, numbers = value.get("text"), [value.get("characters"), *value["judgements"].values()]
    return (text is None or isinstance(text, str)) and all(map(is_known, numbers))


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def _faults(row: Record) -> Iterator[tuple[str, str]]:
    """Yields the fields of a record that hold something else than they should, and what that is."""
    for field in ("row", "respondent", "unit", "asked"):
        if not isinstance(row[field], str):
            yield field, "a text"
    for field in ("condition", "groups"):
        if not _is_texts(row[field]):
            yield field, "an object of texts"
    if row["prompt"] is not None and not is_prompt(row["prompt"]):
        yield "prompt", "null, a text, or turns"
    replies = row.get("replies")
    if not isinstance(replies, list) or not replies or not all(map(_is_reply, replies)):
        yield "replies", "a list of replies with text and judgements, an object of numbers"


def read(path: Path) -> list[Record]:
    """Reads judged replies, this project's or another's: a JSON object a line with at least row and replies.

    Raises:
      UserError: a line is no such record, or a respondent's replies come twice; names line and field.
    """
    records, seen = [], set()
    for where, row in strict_json.read_lines(path):
        row = {**DEFAULTS, "row": row.get("id"), **row}
        for field, expected in _faults(row):
            raise UserError(f"{where}: field {field!r}: found {shown(row.get(field))}, expected {expected}")
        row["unit"] = row["unit"] or row["row"]
        key = identity(row)
        if key in seen:
            raise UserError(f"{where}: {row['respondent']} has replied to row {row['row']!r} under {key[2]} already")
        seen.add(key)
        records.append(row)
    if not records:
        raise UserError(f"{path}: holds no records")
    return records
