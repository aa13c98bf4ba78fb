"""Exchange rates: how many of one good are worth as much as one of another.

Utilities of amounts of a good follow U = b + a ln N (least squares). A rate is the geometric mean, over a grid of
amounts and both ways, of the amounts that are worth the same (arXiv 2502.08640; authors' notebook).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Line(NamedTuple):
    """U = b + a ln N, fitted; arrays over resamples, or numbers."""

    a: np.ndarray
    b: np.ndarray
    error: np.ndarray  # root mean square distance of utilities from the line


def line(mu_RK: np.ndarray, amounts_K: Sequence[float]) -> Line:
    """Fits the line of a good.

    Args:
      mu_RK: utilities of its amounts, [..., K]; at least two different amounts, all above 0.
    """
    x_K = np.log(np.asarray(amounts_K, float))
    x_K = x_K - (middle := x_K.mean())
    mean_R = mu_RK.mean(-1)
    a_R = (mu_RK @ x_K) / (x_K @ x_K)
    error_R = np.sqrt(np.square(mu_RK - mean_R[..., None] - a_R[..., None] * x_K).mean(-1))
    return Line(a_R, mean_R - a_R * middle, error_R)


def rate(i: Line, j: Line, grid: Sequence[float]) -> np.ndarray:
    """Returns how many of good i are worth one of good j; nan where more of a good is not worth more.

    For each N of the grid: N of j are worth exp([b_j - b_i + a_j ln N] / a_i) of i, and N of i are worth exp([b_i - b_j
    + a_i ln N] / a_j) of j. The rate is the geometric mean of all of these ratios.
    """
    n_K = np.log(np.asarray(grid, float))
    with np.errstate(divide="ignore", invalid="ignore"):
        there = ((j.b - i.b)[..., None] + j.a[..., None] * n_K) / i.a[..., None] - n_K
        back = n_K - ((i.b - j.b)[..., None] + i.a[..., None] * n_K) / j.a[..., None]
        mean = np.concatenate([there, back], axis=-1).mean(-1)
        with np.errstate(over="ignore"):
            return np.where((i.a > 0) & (j.a > 0), np.exp(mean), np.nan)


def lines(mu_RN: np.ndarray, goods: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, Line]:
    """Returns the line of each good.

    Args:
      mu_RN: utilities of all outcomes, [..., N].
      goods: good -> its outcomes with their amounts.
    """
    return {g: line(mu_RN[..., [i for i, _ in of]], [n for _, n in of]) for g, of in goods.items()}


def grid(*goods: Sequence[tuple[int, float]]) -> list[float]:
    """Returns the different amounts of some goods."""
    return sorted({n for of in goods for _, n in of})
