"""Replies that were judged: records.jsonl of a folder of prompts, a record for each respondent, row and condition.

A record says who answered (`respondent`), which `row` was asked under which `condition`, and holds its `replies`, each
with what every judge says of it (`judgements`: a number, or null where a judge cannot say). Texts are left out where
rows ask for harm. Records are appended as they come, as those of `runs.answers`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moral_jax.runs import answers
from moral_jax.runs.answers import is_texts
from moral_jax.runs.records import Record
from moral_jax.runs.reply_records import is_known, is_prompt
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


def _faults(row: Record) -> Iterator[tuple[str, str]]:
    """Yields the fields of a record that hold something else than they should, and what that is."""
    for field in ("row", "respondent", "unit", "asked"):
        if not isinstance(row[field], str):
            yield field, "a text"
    for field in ("condition", "groups"):
        if not is_texts(row[field]):
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
    return answers.each_once(path, _checked, answers.identity, answers.said_of("replied to"))


def _checked(where: str, row: Record) -> Record:
    row = {**DEFAULTS, "row": row.get("id"), **row}
    for field, expected in _faults(row):
        raise UserError(f"{where}: field {field!r}: found {shown(row.get(field))}, expected {expected}")
    return row | {"unit": row["unit"] or row["row"]}
