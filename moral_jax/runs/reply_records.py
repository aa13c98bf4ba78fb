"""Records of replies: what a model wrote to each prompt and what that is worth, as JSON lines."""

from pathlib import Path

from moral_jax.runs.records import Record, read_checked
from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.types import UserError

AGAIN = "write the replies again"
KIND = "replies"  # of a stage's numbers, in `metrics.json`
FIELDS = {"text": str, "reason": str, "tokens": int, "rewards": dict}


def is_known(value: object) -> bool:
    """Returns true for a number, and for None."""
    return value is None or is_number(value)


def _is_reply(value: object) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(field), kind) for field, kind in FIELDS.items())
        and is_known(value.get("reward"))
        and all(map(is_known, value["rewards"].values()))
    )


def is_prompt(value: object) -> bool:
    """Returns true for a text, or for turns."""
    if not isinstance(value, list):
        return isinstance(value, str)
    return all(isinstance(t, dict) and all(isinstance(t.get(k), str) for k in ("role", "content")) for t in value)


def _check(where: str, row: Record) -> None:
    """Raises UserError if a row is no record of replies."""
    replies = row.get("replies")
    if not isinstance(replies, list) or not replies or not all(map(_is_reply, replies)):
        raise UserError(f"{where}: no record: field 'replies': found {shown(replies)}; {AGAIN}")
    if not is_prompt(row.get("prompt")):
        raise UserError(f"{where}: no record: field 'prompt': found {shown(row.get('prompt'))}; {AGAIN}")


def read_reply_jsonl(path: Path) -> list[Record]:
    """Reads records of replies; raises as `read_checked`."""
    return read_checked(path, _check, AGAIN)
