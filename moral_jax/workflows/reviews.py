"""Reads people's reviews of replies: reviews.csv beside records.jsonl.

A line has `row`, `step` (1 where a row has one), `reviewer` and `score`, and `respondent` where several have replied.
"""

from collections.abc import Sequence
from pathlib import Path

from moral_jax.runs.judged import TURN
from moral_jax.runs.records import Record
from moral_jax.tasks import reading
from moral_jax.tasks.rows import Columns, Row, as_text, is_empty
from moral_jax.types import UserError

REVIEWS = "reviews.csv"
Key = tuple[str, str, str]


def attached(path: Path, records: Sequence[Record], nulls: Sequence[str]) -> list[Record]:
    """Returns the records with the reviews of their replies: reviewer -> score.

    Args:
      nulls: null respondents, whom nobody reviews unless they are named.

    Raises:
      UserError: a line is bad, is about no reply, or says again what its reviewer said; names the line.
    """
    own = list(dict.fromkeys(r["respondent"] for r in records if r["respondent"] not in nulls))
    places: dict[Key, list[int]] = {}
    for i, r in enumerate(records):
        places.setdefault((r["respondent"], r["row"], r["condition"].get(TURN, "1")), []).append(i)
    found: list[dict[str, float]] = [{} for _ in records]
    for row in reading.opened(str(path), Columns()).rows:
        if isinstance(row, UserError):
            raise row
        here, reviewer = places.get(_key(row, own), []), row.text("reviewer")
        if len(here) != 1:
            expected = (
                "one reply in records.jsonl" if not here else "a reply under one condition; these rows have several"
            )
            raise row.error("row", row.get("row"), f"respondent, row and step of {expected}")
        if reviewer in found[here[0]]:
            raise row.error("reviewer", reviewer, "one score of each reviewer for a reply")
        found[here[0]][reviewer] = row.vote("score", row.get("score"))
    return [r | {"reviews": of} if of else r for r, of in zip(records, found, strict=True)]


def _key(row: Row, own: Sequence[str]) -> Key:
    who = as_text(row.get("respondent"))
    if not who and len(own) != 1:
        raise row.error("respondent", None, f"whose reply it is, as {', '.join(own)} have replied")
    step = row.get("step")
    return who or own[0], row.text("row"), "1" if is_empty(step) else as_text(step)
