"""The answers to pairs as arrays, exact or as so many draws, and who would have answered otherwise without reading."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from moral_jax.analysis.bootstrap import Resampling, sharing
from moral_jax.analysis.rules import Rule
from moral_jax.analysis.tallies.base import Statistic, answered_by, ratio
from moral_jax.runs.answers import condition_name
from moral_jax.runs.records import Record

TIE = 1e-9  # distance from one half below which nothing is preferred
USUAL_SAMPLES = 10  # answers an order, as the paper draws; intervals of exact shares are those of so many answers
Z = 1.959964  # of a 95 % interval


class Answers(NamedTuple):
    """Answers to some pairs, the smaller outcome first."""

    pairs_E2: np.ndarray
    shares_EO: np.ndarray  # share of the first outcome, in each order that was asked; the pair's own order first
    samples: int | None  # answers that were drawn in each order; None: exact shares

    @property
    def p_E(self) -> np.ndarray:
        """The share of the first outcome, the mean over orders."""
        return self.shares_EO.mean(1)

    @property
    def is_tie_E(self) -> np.ndarray:
        """Where nothing is preferred."""
        return np.asarray(np.abs(self.p_E - 0.5) <= TIE)

    @property
    def confidence_E(self) -> np.ndarray:
        """The share of the preferred outcome, at least one half."""
        return np.maximum(self.p_E, 1 - self.p_E)

    @property
    def bias_E(self) -> np.ndarray:
        """How far the share of an outcome is from one order to the other; zeros where one order was asked."""
        return np.abs(self.shares_EO[:, 0] - self.shares_EO[:, -1])

    def take(self, keep: np.ndarray) -> "Answers":
        """Returns some of the answers."""
        return self._replace(pairs_E2=self.pairs_E2[keep], shares_EO=self.shares_EO[keep])


def answers_of(records: Sequence[Record], place: Mapping[str, int], samples: int | None, seed: int) -> Answers:
    """Returns the answers in records of pairs, whose options are tagged with outcomes.

    Args:
      place: outcome -> its number.
      samples: draw so many answers in each order, the same ones whenever it is computed; None: exact shares.
    """
    pairs = np.array([[place[tag] for (tag,) in r["tags"]] for r in records], int).reshape(-1, 2)
    shares = [[shown["probabilities"][0] for shown in r["orders"]] for r in records]
    if samples is not None:
        shares = [_drawn(r, s, samples, seed) for r, s in zip(records, shares, strict=True)]
    return Answers(pairs, np.array(shares, float).reshape(len(records), -1), samples)


def _drawn(record: Record, shares: Sequence[float], samples: int, seed: int) -> list[float]:
    said = f"{seed} {record['respondent']} {record['row']} {condition_name(record['condition'])}"
    rng = np.random.default_rng(list(hashlib.sha256(said.encode()).digest()))
    return [rng.binomial(samples, min(max(p, 0.0), 1.0)) / samples for p in shares]


def by_rule(rule: Rule, name: str, records: Sequence[Record]) -> list[Record]:
    """Returns the records as a null respondent would have answered them."""
    return [answered_by(rule, record) | {"respondent": name} for record in records]


def wilson(p: np.ndarray, n: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the 95 % interval of shares of n answers (Wilson, 1927)."""
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return middle - half, middle + half


def is_undecided(a: Answers) -> np.ndarray:
    """Returns where the intervals of all orders cover one half, [E]."""
    low_EO, high_EO = wilson(a.shares_EO, float(a.samples or USUAL_SAMPLES))
    return np.asarray(((low_EO <= 0.5) & (high_EO >= 0.5)).all(1))


def is_split(p_GE: np.ndarray, n_GE: np.ndarray) -> np.ndarray:
    """Returns where the intervals of two groups lie on opposite sides of one half, [E].

    Args:
      p_GE: share of the first outcome in each group; nan where a group has not answered.
      n_GE: answers of each group.
    """
    low_GE, high_GE = wilson(p_GE, np.maximum(n_GE, 1e-9))
    return np.asarray((low_GE > 0.5).any(0) & (high_GE < 0.5).any(0))


def preferred_alike(a: Answers, b: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pairs in which neither of two ties, and whether they prefer the same outcome in each."""
    known = ~(a.is_tie_E | b.is_tie_E)
    return a.pairs_E2[known], ((a.p_E > 0.5) == (b.p_E > 0.5))[known]


def resampling(pairs_E2: np.ndarray, resamples: int, seed: int = 0) -> Resampling:
    """Returns a resampling of pairs whose intervals are as wide as pairs that share an outcome make them."""
    return Resampling(len(pairs_E2), resamples, seed, sharing([list(map(str, pair)) for pair in pairs_E2]))


def accuracy(guess_E: np.ndarray, a: Answers) -> Statistic:
    """Returns the share of pairs in which a guess prefers the same outcome as the answers, ties left out.

    Args:
      guess_E: share of the first outcome; one half counts as half right.
    """
    is_known_E = (~a.is_tie_E).astype(float)
    right_E = np.where(np.abs(guess_E - 0.5) <= TIE, 0.5, (guess_E > 0.5) == (a.p_E > 0.5))
    return ratio(right_E * is_known_E, is_known_E)
