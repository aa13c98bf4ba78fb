"""Means over seeds, their intervals over seeds and rows, and paired comparisons of two such means.

Rows are resampled (bootstrap); what the seeds add is drawn from Student's t, because resampling two or three seeds with
replacement makes intervals far too narrow. Where rows decide, this is the percentile bootstrap over rows; where seeds
decide, it is the t interval of their mean. Two degrees of freedom of three seeds could hardly show anything, so the
spread over seeds is pooled over all means that are compared, as in an analysis of variance; a mean whose own seeds are
further apart keeps its own (one whose seeds truly are three times as far apart is then held by 86 % of its intervals).
"""

from typing import NamedTuple

import numpy as np


class Draws(NamedTuple):
    """A mean over seeds, and what it might have been with other seeds and other rows."""

    value: float
    drawn_R: np.ndarray

    def __sub__(self, other: "Draws") -> "Draws":
        """The difference; with the same row weights behind both it is paired by row."""
        return Draws(self.value - other.value, self.drawn_R - other.drawn_R)


class Spread(NamedTuple):
    """Standard deviation over seeds, pooled, and its degrees of freedom: 0 where nothing has a second seed."""

    deviation: float
    freedom: int


def spread(values: list[np.ndarray]) -> Spread:
    """Pools the variance over seeds; one array [S] for each mean that is compared, of which some may have one seed."""
    freedom = sum(len(value_S) - 1 for value_S in values)
    squares = sum(float(np.square(value_S - value_S.mean()).sum()) for value_S in values)
    return Spread(float(np.sqrt(squares / freedom)) if freedom else 0.0, freedom)


def over_seeds(value_S: np.ndarray, resampled_SR: np.ndarray, pooled: Spread, seed: int) -> Draws:
    """Pools the seeds' values on all rows and on resampled rows; one seed says nothing of the spread over seeds.

    Args:
      value_S: of each seed's model on all rows.
      resampled_SR: the same on bootstrap resamples of the rows, the same resamples for every seed.
      pooled: over all means that are compared, this one among them.
      seed: of the draws; must differ between the means that are compared.
    """
    S, R = resampled_SR.shape
    drawn_R = resampled_SR.mean(0)
    if S > 1:
        error = max(float(value_S.std(ddof=1)), pooled.deviation) / np.sqrt(S)
        drawn_R = drawn_R + error * np.random.default_rng(seed).standard_t(pooled.freedom, R)
    return Draws(float(value_S.mean()), drawn_R)


def interval(d: Draws) -> dict[str, float]:
    """Value and 95 % interval."""
    low, high = np.percentile(d.drawn_R, [2.5, 97.5])
    return {"value": d.value, "low": float(low), "high": float(high)}


def p_value(difference: Draws) -> float:
    """Two-sided p of "no difference": twice the share of draws on the other side of zero, never below 2 / (R + 1).

    The paired bootstrap test of Koehn (EMNLP 2004) for both directions; the added one keeps p from being zero.
    """
    d = difference.drawn_R
    beyond = min(int((d <= 0).sum()), int((d >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (len(d) + 1))


def holm(p_values: list[float]) -> list[float]:
    """Adjusted p-values that hold for the whole family (Holm, Scand. J. Statist. 6, 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate([(len(order) - i) * p_values[at] for i, at in enumerate(order)])
    return np.minimum(adjusted, 1.0).tolist()
