"""Rewards: what a reply is worth, as the weighted sum of what some judges say: "contains:sorry | 0.5*run:runs/reward".

Any judge of `table` is a reward.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from moral_jax.judges import table
from moral_jax.judges.base import Behind, Judge
from moral_jax.types import UserError

PLACE = "config.rollout.reward"


class Weighted(NamedTuple):
    """A judge and the weight of what it says."""

    judge: Judge
    weight: float


def parse(text: str, behind: Behind) -> list[Weighted]:
    """Returns the judges that a setting names, with their weights.

    Args:
      text: "NAME" or "WEIGHT*NAME", several with " | " between them.
      behind: what asks reward models, and respondents about rubrics.

    Raises:
      UserError: there is no such judge, or it cannot be loaded.
    """
    if not text.strip():
        raise UserError(f"{PLACE}: is empty; name what replies are rewarded for: {table.known()}")
    found = [_one(part.strip(), behind) for part in text.split(" | ")]
    names = [weighted.judge.name for weighted in found]
    if len(set(names)) < len(names):
        raise UserError(f"{PLACE}={text!r}: names a reward twice; give it one weight")
    return found


def _one(text: str, behind: Behind) -> Weighted:
    weight, name = 1.0, text
    if found := re.fullmatch(r"([-+]?[0-9.]+(?:e[-+]?[0-9]+)?)\*(.+)", text, re.S):
        try:
            weight, name = float(found[1]), found[2]
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise UserError(f"{PLACE}={text!r}: {found[1]!r} is no weight")
    return Weighted(table.parse(name, behind, PLACE), weight)


def total(weights: Sequence[float], said: Sequence[float | None]) -> float | None:
    """Returns the weighted sum; None if one of them cannot say, as sums of other terms could not be compared."""
    known = [w * x for w, x in zip(weights, said, strict=True) if x is not None]
    return sum(known) if len(known) == len(said) else None
