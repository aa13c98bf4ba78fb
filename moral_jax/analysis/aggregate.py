"""Ways to make one decision of what groups of people prefer: all of them side by side, as they differ.

A group has a weight (its people) and a value for each option (a share of its votes, or a utility). Every way gives each
option a score, and the option with the highest wins; options that tie win together.
"""

from collections.abc import Callable

import numpy as np

Way = Callable[[np.ndarray, np.ndarray], np.ndarray]  # values [G, C], weights [G] -> scores [C]
LEAST = 1e-9  # of a share in a product, so that one group without votes for an option does not make all of them equal


def mean(values_GC: np.ndarray, weights_G: np.ndarray) -> np.ndarray:
    """Returns the mean over people."""
    return weights_G @ values_GC / weights_G.sum()


def plurality(values_GC: np.ndarray, weights_G: np.ndarray) -> np.ndarray:
    """Returns the people of the groups that value an option most, as if a group voted as one; ties are divided."""
    best_GC = values_GC >= values_GC.max(1, keepdims=True) - 1e-12
    return weights_G @ (best_GC / best_GC.sum(1, keepdims=True))


def majority(values_GC: np.ndarray, weights_G: np.ndarray) -> np.ndarray:
    """Returns the groups that value an option most, whatever their size; a group that ties is divided."""
    return plurality(values_GC, np.ones_like(weights_G))


def worst_group(values_GC: np.ndarray, weights_G: np.ndarray) -> np.ndarray:
    """Returns the smallest value over groups (maximin), whatever their size."""
    return values_GC.min(0)


def borda(values_GC: np.ndarray, weights_G: np.ndarray) -> np.ndarray:
    """Returns Borda points: of each person one for every option that their group values less, a half for ties."""
    less_GCC = values_GC[:, :, None] > values_GC[:, None, :] + 1e-12
    same_GCC = np.abs(values_GC[:, :, None] - values_GC[:, None, :]) <= 1e-12
    points_GC = less_GCC.sum(2) + (same_GCC.sum(2) - 1) / 2
    return weights_G @ points_GC


def condorcet(values_GC: np.ndarray, weights_G: np.ndarray) -> np.ndarray:
    """Returns how many other options an option beats, person against person; a half for each that it ties with."""
    for_GCC = (values_GC[:, :, None] > values_GC[:, None, :] + 1e-12).astype(float)
    for_CC = np.tensordot(weights_G, for_GCC, axes=1)
    ties_CC = np.abs(for_CC - for_CC.T) <= 1e-9 * weights_G.sum()
    wins_CC = (for_CC > for_CC.T) * ~ties_CC + 0.5 * ties_CC
    return wins_CC.sum(1) - 0.5  # an option ties with itself


def nash(values_GC: np.ndarray, weights_G: np.ndarray) -> np.ndarray:
    """Returns the weighted geometric mean (Nash welfare)."""
    return np.exp(weights_G @ np.log(np.maximum(values_GC, LEAST)) / weights_G.sum())


WAYS: dict[str, Way] = {
    "mean": mean,
    "plurality": plurality,
    "majority": majority,
    "worst group": worst_group,
    "Borda": borda,
    "Condorcet": condorcet,
    "Nash": nash,
}


def winners(scores_C: np.ndarray) -> list[int]:
    """Returns the options with the highest score."""
    return np.flatnonzero(scores_C >= scores_C.max() - 1e-9).tolist()
