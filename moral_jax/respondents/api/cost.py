"""What the questions will cost, before any is sent."""

import json
import math
from typing import Any, NamedTuple

from moral_jax.types import UserError

CHARACTERS = 4  # per token of English, about
REPLY_TOKENS = 1


class Budget(NamedTuple):
    """Prices in dollars (or whatever) per million tokens, and how far one may go."""

    price_in: float | None
    price_out: float | None
    most: float | None  # go on when the estimate is no higher
    yes: bool  # go on whatever it is

    def checked(self) -> "Budget":
        """The same, if its numbers are some: nothing is above a limit of nan.

        Raises:
          UserError: one is negative or not finite; names its flag.
        """
        for flag, value in (("price-in", self.price_in), ("price-out", self.price_out), ("max-cost", self.most)):
            if value is not None and not 0 <= value < math.inf:
                raise UserError(f"--{flag}={value:g}: expected a finite number, zero or more")
        return self


def tokens(body: dict[str, Any]) -> int:
    """About how many tokens a prompt has: its characters, with those of the roles and marks around messages."""
    return len(json.dumps(body, ensure_ascii=False)) // CHARACTERS + 1


def estimate(bodies: list[dict[str, Any]], budget: Budget) -> tuple[str, float | None]:
    """The estimate in words, and in money where there are prices."""
    count, asked = len(bodies), sum(tokens(body) for body in bodies)
    said = f"{count} requests, about {asked:,} tokens in and {count * REPLY_TOKENS:,} out"
    if budget.price_in is None or budget.price_out is None:
        return f"{said}; with --price-in and --price-out (per million tokens) also what they cost", None
    cost = (asked * budget.price_in + count * REPLY_TOKENS * budget.price_out) / 1e6
    return f"{said}: about {cost:.2f}", cost


def check(cost: float | None, budget: Budget) -> None:
    """Whether to go on.

    Raises:
      UserError: nobody said yes, or the estimate is above what was allowed.
    """
    if budget.most is not None and cost is None:
        raise UserError(f"--max-cost={budget.most:g}: needs --price-in and --price-out, per million tokens")
    if budget.most is not None and cost is not None and cost > budget.most:
        raise UserError(f"the estimate of {cost:.2f} is above --max-cost={budget.most:g}; nothing was sent")
    if budget.most is None and not budget.yes:
        raise UserError("nothing was sent yet: pass --yes to go on, or --max-cost=N with prices")
