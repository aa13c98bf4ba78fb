"""Estimates on resampled rows, and how much wider their draws must be where rows share something.

Rows are resampled one by one, as if they were independent. Rows that share an action are not: a model that errs on an
action errs on all of its rows. So the draws of an estimate are stretched around it by the ratio r of two standard
errors, the dyadic-robust one (Aronow, Samii and Assenova, Political Analysis 23, 2015, arXiv 1312.3398) over that of
independent rows. With u the influence of every row on the estimate, and S_ij = 1 where rows i and j share a key,

    r = sqrt(max(1, u' S u / u' u)).

Differences are taken before their ratio, as what two models have in common cancels.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from moral_jax.runs.quantities import QUANTITIES

CHUNK = 1000  # resamples held at once: as many rows' weights
SMALLEST = 5  # rows; with fewer, an interval would be meaningless
Statistic = Callable[[np.ndarray], np.ndarray]  # row weights [R, E] -> [R]
Estimate = dict[str, float]  # value, low and high; the value alone where there are too few rows


class Sharing(NamedTuple):
    """Which rows share a key, as sets of rows: u' S u is the signed sum of squares of the sums of u over each set.

    A set holds the rows that have a key, with sign 1, or two keys, with sign -1, and so on (inclusion and exclusion):
    rows that share two keys count once. No matrix of all pairs is made.
    """

    sets: sparse.csr_array  # [sets, E], of ones
    signs: np.ndarray

    def quadratic(self, u_E: np.ndarray) -> float:
        """Returns u' S u."""
        return float(self.signs @ np.square(self.sets @ u_E))


def sharing(keys: Sequence[Sequence[str]]) -> Sharing | None:
    """Returns which rows share one of their keys; None where no two do.

    Args:
      keys: those of each row; a row without keys shares nothing.
    """
    members: dict[tuple[str | int, ...], list[int]] = {}
    for row, of_row in enumerate(keys):
        own = sorted(set(of_row))
        subsets: list[tuple[str | int, ...]] = [
            s for n in range(1, len(own) + 1) for s in itertools.combinations(own, n)
        ]
        for subset in subsets or [(row,)]:
            members.setdefault(subset, []).append(row)
    if all(len(rows) == 1 for rows in members.values()):
        return None
    columns = np.concatenate(list(members.values()))
    starts = np.cumsum([0, *map(len, members.values())])
    sets = sparse.csr_array((np.ones(len(columns)), columns, starts), shape=(len(members), len(keys)))
    return Sharing(sets, np.array([1.0 if len(subset) % 2 else -1.0 for subset in members]))


class Draws(NamedTuple):
    """An estimate, and draws of it with other rows and, for a mean over seeds, with other seeds."""

    value: float
    rows_R: np.ndarray  # the estimate on resampled rows
    influence_E: np.ndarray  # how far each row moves the estimate, up to a common factor
    shared: Sharing | None = None
    seeds_R: np.ndarray | float = 0.0  # what other seeds add

    def __sub__(self, other: "Draws") -> "Draws":
        """Returns the difference, which is paired by row if both come from the same resampling."""
        return Draws(
            self.value - other.value,
            self.rows_R - other.rows_R,
            self.influence_E - other.influence_E,
            self.shared,
            self.seeds_R - other.seeds_R,
        )

    @property
    def ratio(self) -> float:
        """The standard error over that of rows which share nothing; at least 1."""
        squares = float(self.influence_E @ self.influence_E)
        if self.shared is None or squares == 0:
            return 1.0
        return float(np.sqrt(max(1.0, self.shared.quadratic(self.influence_E) / squares)))

    @property
    def drawn_R(self) -> np.ndarray:
        """The draws, stretched around the value by the ratio."""
        return self.value + self.ratio * (self.rows_R - self.value) + self.seeds_R


def interval(d: Draws, limits: tuple[float, float] = (-np.inf, np.inf)) -> Estimate:
    """Returns the value and its 95 % interval, from percentiles of the draws; no interval of fewer than SMALLEST rows.

    Args:
      d: the draws.
      limits: between which the true value must lie; the interval is cut there.
    """
    if len(d.influence_E) < SMALLEST:
        return {"value": d.value}
    low, high = np.clip(np.percentile(d.drawn_R, [2.5, 97.5]), *limits)
    return {"value": d.value, "low": float(low), "high": float(high)}


def estimate(name: str, d: Draws) -> Estimate:
    """Returns the value and interval of a number of `quantities`, within its limits; of a share, within 0 and 1."""
    return interval(d, QUANTITIES[name].limits if name in QUANTITIES else (0.0, 1.0))


def resamples(rows: int, count: int, seed: int | Sequence[int]) -> np.ndarray:
    """Returns weights [R, E]: how often each row is drawn if as many rows are drawn with replacement."""
    drawn_RE = np.random.default_rng(seed).integers(rows, size=(count, rows))
    flat = (drawn_RE + rows * np.arange(count)[:, None]).ravel()
    return np.bincount(flat, minlength=count * rows).reshape(count, rows).astype(float)


@dataclasses.dataclass(frozen=True)
class Resampling:
    """How rows are resampled: as often as `count` says, the same rows in every call."""

    rows: int
    count: int
    seed: int
    shared: Sharing | None = None

    def weights(self) -> Iterator[np.ndarray]:
        """Yields the weights of all resamples, in chunks [<= CHUNK, E]."""
        for start in range(0, self.count, CHUNK):
            yield resamples(self.rows, min(CHUNK, self.count - start), (self.seed, start))

    def draws(self, of: Mapping[str, np.ndarray | Statistic]) -> dict[str, Draws]:
        """Returns the draws of some numbers by name: of the mean of an array [E], or of a statistic of the weights."""
        means = {name: np.asarray(x, float) for name, x in of.items() if not callable(x)}
        statistics = {name: x for name, x in of.items() if callable(x)}
        stacked_EM = np.stack(list(means.values()), axis=-1) if means else np.zeros((self.rows, 0))
        drawn: dict[str, list[np.ndarray]] = {name: [] for name in of}
        for w_RE in self.weights():
            mean_RM = w_RE @ stacked_EM / self.rows
            for name, mean_R in zip(means, mean_RM.T, strict=True):
                drawn[name].append(mean_R)
            for name, statistic in statistics.items():
                drawn[name].append(statistic(w_RE))
        values = {name: float(v_E.mean()) for name, v_E in means.items()}
        values |= {name: float(s(np.ones((1, self.rows)))[0]) for name, s in statistics.items()}
        influences = {name: v_E - v_E.mean() for name, v_E in means.items()}
        influences |= {name: self._influence(s, values[name]) for name, s in statistics.items()}
        return {
            name: Draws(values[name], np.concatenate(drawn[name]), influences[name], self.shared) for name in of
        }  # fmt: skip

    def _influence(self, statistic: Statistic, value: float) -> np.ndarray:
        """Returns how far the statistic moves where a row is left out (jackknife), [E]; zeros where none share."""
        if self.shared is None:
            return np.zeros(self.rows)
        moved = []
        for start in range(0, self.rows, CHUNK):
            w_RE = np.ones((min(CHUNK, self.rows - start), self.rows))
            w_RE[np.arange(len(w_RE)), start + np.arange(len(w_RE))] = 0
            moved.append(value - statistic(w_RE))
        return np.concatenate(moved)
