"""Estimates with intervals over groups: rows that share a key are drawn together."""

import functools
from collections.abc import Callable, Mapping

import numpy as np

from moral_jax.analysis.bootstrap import Draws, Estimate, Resampling

OfRows = Callable[[np.ndarray], np.ndarray]  # weights of rows [R, E] -> [R]


class Groups:
    """Groups of rows, resampled: the same groups for every number, so that differences are paired."""

    def __init__(self, groups_E: np.ndarray, count: int, seed: int):
        self.groups_E = groups_E
        self._of = Resampling(int(groups_E.max()) + 1, count, seed)

    def draws(self, of: Mapping[str, np.ndarray | OfRows]) -> dict[str, Draws]:
        """Returns the draws of some numbers by name: of the mean of an array [E], or of a statistic of row weights."""
        statistics = {name: x if callable(x) else mean_of(x) for name, x in of.items()}
        return self._of.draws({name: functools.partial(self._of_groups, x) for name, x in statistics.items()})

    def _of_groups(self, statistic: OfRows, w_RG: np.ndarray) -> np.ndarray:
        return statistic(w_RG[:, self.groups_E])


def mean_of(values_E: np.ndarray) -> OfRows:
    """Returns the mean of values as a statistic of row weights; rows whose value is NaN do not count."""
    known_E = np.isfinite(values_E)
    value_E = np.where(known_E, values_E, 0.0)
    return lambda w_RE: (w_RE @ value_E) / np.maximum(w_RE @ known_E, 1e-12)


def over_seeds(draws: Draws, values_S: np.ndarray, seed: int) -> Draws:
    """Returns the draws of a mean over seeds, widened by what other seeds would add."""
    rng = np.random.default_rng((seed, 3))
    picked = rng.integers(len(values_S), size=(len(draws.rows_R), len(values_S)))
    return draws._replace(seeds_R=values_S[picked].mean(1) - values_S.mean())


def seeds_of(estimate: Estimate, values_S: np.ndarray) -> Estimate:
    """Returns an estimate with its lowest and highest seed."""
    return estimate | {"least": float(values_S.min()), "most": float(values_S.max())}
