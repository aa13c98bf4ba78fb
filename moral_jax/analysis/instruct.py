"""What instructions achieve and what they cost: violation, perplexity, length and refusals, beside none."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis.bootstrap import Estimate, Resampling, interval

NUMBERS = ("violation", "nll", "words", "refusals")
LIMITS = {"violation": (-1.0, 1.0), "refusals": (-1.0, 1.0)}


class Answered(NamedTuple):
    """The completions of a prompt under an instruction, means over those that were judged."""

    violation: float  # share of completions that violate
    nll: float  # nats a token that the target finds in its own completion; e to it is the perplexity
    words: float
    refusals: float  # share


def answered(
    violations: Sequence[float | None], logp: Sequence[tuple[float, int]], texts: Sequence[str],
    refusals: Sequence[float | None], threshold: float,
) -> Answered:  # fmt: skip
    """Returns the means of some completions; what could not be judged counts for nothing."""
    known = [x >= threshold for x in violations if x is not None]
    refused = [x >= 0.5 for x in refusals if x is not None]
    tokens = sum(n for _, n in logp)
    return Answered(
        sum(known) / len(known) if known else 0.0,
        -sum(nats for nats, _ in logp) / max(1, tokens),
        sum(len(text.split()) for text in texts) / len(texts),
        sum(refused) / len(refused) if refused else 0.0,
    )


def weight(violations: Sequence[float | None], logp: Sequence[tuple[float, int]]) -> float:
    """Returns what an instruction is worth: compliance, 1 - violation, x fluency, the probability of a token."""
    known = [x for x in violations if x is not None]
    if not known:
        return 0.0
    tokens = sum(n for _, n in logp)
    fluency = math.exp(sum(nats for nats, _ in logp) / max(1, tokens))
    return max(0.0, 1 - sum(known) / len(known)) * fluency


def compare(found: Mapping[str, Sequence[Answered]], count: int, seed: int) -> dict[str, dict[str, Any]]:
    """Returns the numbers of every way to instruct, and their difference to the first, prompt by prompt.

    Args:
      found: way -> what came of each prompt, the same prompts in the same order.
    """
    first = next(iter(found))
    rows = len(found[first])
    resampling, out = Resampling(rows, count, seed), dict[str, dict[str, Any]]()
    columns = {way: {n: np.array([getattr(a, n) for a in of]) for n in NUMBERS} for way, of in found.items()}
    draws = {way: resampling.draws(of) for way, of in columns.items()}
    for way, of in draws.items():
        numbers: dict[str, float] = {name: d.value for name, d in of.items()}
        numbers["perplexity"] = math.exp(numbers.pop("nll"))
        less: dict[str, Estimate] = {}
        if way != first:
            less = {n: interval(of[n] - draws[first][n], LIMITS.get(n, (-np.inf, np.inf))) for n in NUMBERS}
        out[way] = {"numbers": numbers, "less": less}
    return out
