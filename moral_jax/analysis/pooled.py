"""Means over seeds, their intervals over seeds and rows, and paired comparisons of two such means.

Rows are resampled (`bootstrap`). The variation over seeds is drawn from Student's t, because resampling two or three
seeds with replacement makes intervals far too narrow. Where rows vary most, this is the percentile bootstrap over rows;
where seeds vary most, it is the t interval of their mean. With three seeds, two degrees of freedom, hardly any
difference could be shown. So the spread over seeds is pooled over all means that are compared, as in an analysis of
variance. A mean whose own seeds are further apart keeps its own spread; if they truly are three times as far apart,
86 % of its intervals cover it.
"""

from typing import NamedTuple

import numpy as np

from moral_jax.analysis.bootstrap import Draws


class Spread(NamedTuple):
    """Pooled standard deviation over seeds, and its degrees of freedom: 0 where no mean has a second seed."""

    deviation: float
    freedom: int


def spread(values: list[np.ndarray]) -> Spread:
    """Pools the variance over seeds of all compared means, given as one array [S] each; some may have one seed."""
    freedom = sum(len(value_S) - 1 for value_S in values)
    squares = sum(float(np.square(value_S - value_S.mean()).sum()) for value_S in values)
    return Spread(float(np.sqrt(squares / freedom)) if freedom else 0.0, freedom)


def over_seeds(of_seeds: list[Draws], pooled: Spread, seed: int) -> Draws:
    """Returns the mean over seeds and its draws. A single seed adds no variation over seeds.

    Args:
      of_seeds: each seed's number and its draws; all from the same resampling.
      pooled: the spread over all means that are compared, including this one.
      seed: seed of the draws; must differ between the means that are compared.
    """
    values, S = [d.value for d in of_seeds], len(of_seeds)
    rows_R = np.mean([d.rows_R for d in of_seeds], axis=0)
    mean = Draws(float(np.mean(values)), rows_R, np.mean([d.influence_E for d in of_seeds], axis=0), of_seeds[0].shared)
    if S == 1:
        return mean
    error = max(float(np.std(values, ddof=1)), pooled.deviation) / np.sqrt(S)
    return mean._replace(seeds_R=error * np.random.default_rng(seed).standard_t(pooled.freedom, len(rows_R)))
