"""The shares of people on pairs of outcomes, and rows that train a model to have them: utility control without another
trainer.

Outcomes are divided, not pairs: no outcome of a training row stands in a test row. Pairs across the divide are left
out.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moral_jax.runtime import files
from moral_jax.tasks.elicitation.outcomes import Outcome
from moral_jax.tasks.questionnaire import questions
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.tasks.rows import described
from moral_jax.types import UserError

Pair = tuple[int, int]
SIDES = {"train": 0.6, "validation": 0.15, "test": 0.25}  # shares of the outcomes
VOTES = 100.0  # that a share stands for where nobody says how many voted
HELD_OUT = "held_out.jsonl"  # outcomes that no training row names


class Voted(NamedTuple):
    """What people said of a pair: votes for its first outcome, and for its second."""

    pair: Pair
    votes: tuple[float, float]
    group: str


def read(path: Path, outcomes: Sequence[Outcome]) -> list[Voted]:
    """Reads what people said: votes whose options are outcomes, by their texts or ids.

    Args:
      path: rows of votes: options, counts, and maybe a group.

    Raises:
      UserError: a row has other options or no votes; names the row.
    """
    place = {name: i for i, one in enumerate(outcomes) for name in (one.text, one.id)}
    out = []
    for found in questions.read(Folder(path.parent), str(path)):
        options = found.example.options
        if len(options) != 2 or any(option not in place for option in options):
            raise UserError(
                f"{found.where}: field 'options': found {described(options)}, expected the texts or ids of two of the "
                f"outcomes"
            )
        if not found.has_votes:
            raise UserError(f"{found.where}: field 'counts': found nothing, expected the votes for each of the two")
        first, second = found.example.counts
        out.append(voted(place[options[0]], place[options[1]], first, second, "; ".join(found.example.groups.values())))
    return out


def voted(i: int, j: int, first: float, second: float, group: str) -> Voted:
    """Returns votes on a pair, the outcome that comes first in the file first."""
    return Voted((i, j), (first, second), group) if i < j else Voted((j, i), (second, first), group)


def shares(said: Sequence[Voted]) -> dict[Pair, float]:
    """Returns the share of the first outcome of each pair: the mean of the groups, so that each weighs the same."""
    of: dict[Pair, dict[str, np.ndarray]] = {}
    for one in said:
        of.setdefault(one.pair, {}).setdefault(one.group, np.zeros(2))[:] += one.votes
    return {pair: float(np.mean([v[0] / v.sum() for v in groups.values()])) for pair, groups in of.items()}


def by_group(said: Sequence[Voted]) -> dict[str, dict[Pair, tuple[float, float]]]:
    """Returns group -> pair -> share of the first outcome, and number of votes."""
    out: dict[str, dict[Pair, tuple[float, float]]] = {}
    for one in said:
        out.setdefault(one.group, {})[one.pair] = one.votes[0] / sum(one.votes), sum(one.votes)
    return out


def divided(known: Collection[int], outcomes: Sequence[Outcome], seed: int) -> dict[str, set[int]]:
    """Returns the outcomes of each side. Amounts of one good stay together: who has seen ten would know a hundred."""
    units: dict[str, list[int]] = {}
    for i in sorted(known):
        units.setdefault(f"good {outcomes[i].good}" if outcomes[i].good else f"outcome {i}", []).append(i)
    sides: dict[str, set[int]] = {side: set() for side in SIDES}
    mixed = np.random.default_rng(seed).permutation(list(units)).tolist()
    for name in sorted(mixed, key=lambda name: -len(units[name])):  # the largest first, or they would fit nowhere
        wanted = max(SIDES, key=lambda side: SIDES[side] * len(known) - len(sides[side]))
        sides[wanted] |= set(units[name])
    return sides


def write_rows(
    folder: Path, of: Mapping[Pair, float], outcomes: Sequence[Outcome], asked: str, seed: int
) -> dict[str, int]:
    """Writes train.jsonl, validation.jsonl and test.jsonl of votes, and held_out.jsonl of outcomes that no training row
    names.

    Args:
      of: the share of the first outcome of each pair.
      asked: the question.

    Returns:
      side -> rows.

    Raises:
      UserError: a side would be empty.
    """
    sides = divided({i for pair in of for i in pair}, outcomes, seed)
    rows = {side: [pair for pair in of if set(pair) <= members] for side, members in sides.items()}
    if empty := [side for side, pairs in rows.items() if not pairs]:
        known = len({i for pair in of for i in pair})
        raise UserError(
            f"--write-rows={folder}: no pair of {known} outcomes lies in the {empty[0]} side alone; expected votes on "
            f"more pairs"
        )
    files_of = {
        f"{side}.jsonl": [_row(pair, of[pair], outcomes, asked) for pair in pairs] for side, pairs in rows.items()
    }
    trained = sides["train"] | sides["validation"]
    files_of[HELD_OUT] = [
        _line(one) for i, one in enumerate(outcomes) if i not in trained and not one.of and one.next is None
    ]
    with files.storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, lines in files_of.items():
        files.write_jsonl(folder / name, lines)
    return {side: len(pairs) for side, pairs in rows.items()}


def _row(pair: Pair, share: float, outcomes: Sequence[Outcome], asked: str) -> dict[str, object]:
    a, b = (outcomes[i] for i in pair)
    counts = [VOTES * share, VOTES * (1 - share)]
    return {"id": f"{a.id} | {b.id}", "question": asked, "options": [a.text, b.text], "counts": counts}


def _line(one: Outcome) -> dict[str, object]:
    """Returns an outcome as a line of OPTIONS.jsonl."""
    values: dict[str, object] = {"id": one.id, "text": one.text}
    if one.group:
        values["group"] = one.group
    if one.amount is not None:
        values |= {"good": one.good, "amount": one.amount}
    return values
