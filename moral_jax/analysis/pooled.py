"""Means over seeds, their intervals over seeds and rows, and paired comparisons of two such means.

Rows are resampled (bootstrap). The variation over seeds is drawn from Student's t, because resampling two or three
seeds with replacement makes intervals far too narrow. Where rows vary most, this is the percentile bootstrap over rows;
where seeds vary most, it is the t interval of their mean. With three seeds, two degrees of freedom, hardly any
difference could be shown. So the spread over seeds is pooled over all means that are compared, as in an analysis of
variance. A mean whose own seeds are further apart keeps its own spread; if they truly are three times as far apart,
86 % of its intervals cover it.
"""

from typing import NamedTuple

import numpy as np


class Draws(NamedTuple):
    """A mean over seeds, and draws of that mean with other seeds and other rows."""

    value: float
    drawn_R: np.ndarray

    def __sub__(self, other: "Draws") -> "Draws":
        """Returns the difference, which is paired by row if both come from the same row weights."""
        return Draws(self.value - other.value, self.drawn_R - other.drawn_R)


class Spread(NamedTuple):
    """Pooled standard deviation over seeds, and its degrees of freedom: 0 where no mean has a second seed."""

    deviation: float
    freedom: int


def spread(values: list[np.ndarray]) -> Spread:
    """Pools the variance over seeds of all compared means, given as one array [S] each; some may have one seed."""
    freedom = sum(len(value_S) - 1 for value_S in values)
    squares = sum(float(np.square(value_S - value_S.mean()).sum()) for value_S in values)
    return Spread(float(np.sqrt(squares / freedom)) if freedom else 0.0, freedom)


def over_seeds(value_S: np.ndarray, resampled_SR: np.ndarray, pooled: Spread, seed: int) -> Draws:
    """Returns the mean over seeds and its draws. A single seed adds no variation over seeds.

    Args:
      value_S: the value of each seed's model on all rows.
      resampled_SR: its values on bootstrap resamples of the rows; all seeds share the resamples.
      pooled: the spread over all means that are compared, including this one.
      seed: seed of the draws; must differ between the means that are compared.
    """
    S, R = resampled_SR.shape
    drawn_R = resampled_SR.mean(0)
    if S > 1:
        error = max(float(value_S.std(ddof=1)), pooled.deviation) / np.sqrt(S)
        drawn_R = drawn_R + error * np.random.default_rng(seed).standard_t(pooled.freedom, R)
    return Draws(float(value_S.mean()), drawn_R)


def interval(d: Draws) -> dict[str, float]:
    """Returns value and 95 % interval."""
    low, high = np.percentile(d.drawn_R, [2.5, 97.5])
    return {"value": d.value, "low": float(low), "high": float(high)}


def p_value(difference: Draws) -> float:
    """Returns the two-sided p of "no difference": twice the share of draws beyond zero, never below 2 / (R + 1).

    This is the paired bootstrap test of Koehn (EMNLP 2004) for both directions. Adding one keeps p above zero.
    """
    d = difference.drawn_R
    beyond = min(int((d <= 0).sum()), int((d >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(d) + 1))


def holm(p_values: list[float]) -> list[float]:
    """Returns p-values adjusted for the whole family of tests (Holm, Scand. J. Statist. 6, 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate([(len(order) - i) * p_values[index] for i, index in enumerate(order)])
    return np.minimum(adjusted, 1.0).tolist()
