"""Records of replies: what a model wrote to each prompt and what that is worth, as JSON lines."""

from pathlib import Path

from moral_jax.runs.records import Record
from moral_jax.runtime import strict_json
from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.types import UserError

KIND = "replies"  # of a stage's numbers, in `metrics.json`
FIELDS = {"text": str, "reason": str, "tokens": int, "rewards": dict}


def _is_known(value: object) -> bool:
    return value is None or is_number(value)


def _is_reply(value: object) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(field), kind) for field, kind in FIELDS.items())
        and _is_known(value.get("reward"))
        and all(map(_is_known, value["rewards"].values()))
    )


def _is_prompt(value: object) -> bool:
    """Returns true for a text, or for turns."""
    if not isinstance(value, list):
        return isinstance(value, str)
    return all(isinstance(t, dict) and all(isinstance(t.get(k), str) for k in ("role", "content")) for t in value)


def read_reply_jsonl(path: Path) -> list[Record]:
    """Reads records of replies.

    Raises:
      UserError: a line is no such record; names it.
    """
    records = []
    for where, row in strict_json.read_lines(path):
        replies = row.get("replies")
        if not isinstance(replies, list) or not replies or not all(map(_is_reply, replies)):
            raise UserError(f"{where}: no record: field 'replies': found {shown(replies)}; write the replies again")
        if not _is_prompt(row.get("prompt")):
            raise UserError(f"{where}: no record: field 'prompt': found {shown(row.get('prompt'))}; write them again")
        if not isinstance(row.get("id"), str) or not isinstance(row.get("groups"), dict):
            raise UserError(f"{where}: no record: it has no id or no groups; write the replies again")
        records.append(row)
    if not records:
        raise UserError(f"{path}: holds no records; delete it and write the replies again")
    return records
