"""Planted centuries: what people say while their values move along a known path.

Every tag has a weight, which moves from century to century; the share of an option is proportional to the exponential
of the sum of its tags' weights. So what a tally counts of tags is known, and moves as planned.

    weight of a tag in century t = start + path(t) * step        start ~ N(0, 1), step ~ N(0, pace)
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from moral_jax.analysis.progress import Shares
from moral_jax.runs.records import Record

Weights = Mapping[str, float]  # tag -> weight
PATHS: dict[str, Callable[[int], float]] = {
    "straight": lambda t: t,
    "none": lambda t: 0,
    "reversing": lambda t: t % 2,  # turns back at every step
}


def tags_of(rows: Sequence[Record]) -> list[str]:
    """Returns the tags of all options, each once, in the order of the rows."""
    return list(dict.fromkeys(tag for row in rows for tags in row["tags"] for tag in tags))


def planted(tags: Sequence[str], path: str, centuries: int, pace: float, seed: int) -> list[Weights]:
    """Returns the weights of tags in each century.

    Args:
      path: one of `PATHS`.
      pace: standard deviation of the weights' moves from one century to the next.
    """
    start_G, step_G = np.random.default_rng(seed).standard_normal((2, len(tags)))
    moved = [start_G + PATHS[path](t) * pace * step_G for t in range(centuries)]
    return [dict(zip(tags, weights_G.tolist(), strict=True)) for weights_G in moved]


def shares(rows: Sequence[Record], weights: Weights) -> Shares:
    """Returns the shares of each row's options; equal ones where no option has a tag."""
    out = {}
    for row in rows:
        tags = row["tags"] or [[] for _ in row["options"]]
        sums_C = np.array([sum(weights.get(tag, 0.0) for tag in own) for own in tags])
        exp_C = np.exp(sums_C - sums_C.max())
        out[row["row"]] = exp_C / exp_C.sum()
    return out
