"""Thurstone's model of pairs: a utility mu and a variance v for each outcome, P(i over j) = Phi((mu_i - mu_j) /
sqrt(v_i + v_j)).

Fitted as arXiv 2502.08640 does: mean binary cross-entropy to the shares, from 0.01 N(0, 1), by Adam with a rate of 0.01
in 1,000 full steps. Several weightings of the same pairs (resamples, folds) are fitted side by side.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import erfcx, log_ndtr, ndtr

from moral_jax.runtime import console

STEPS = 1000
RATE, BETA_1, BETA_2, TINY = 0.01, 0.9, 0.999, 1e-8  # Adam
LEAST = 1e-5  # added to a sum of variances
EQUAL = 1e-3  # spread of utilities, in standard deviations of an outcome, below which nothing is preferred
FAR = 37.0  # standard deviations beyond which Phi is 0 in float64
AT_ONCE = (
    16_384  # weights in one array: few steps of the interpreter for few pairs, and what fits into a cache for many
)
THREADS = min(8, os.cpu_count() or 1)


class Utilities(NamedTuple):
    """Utilities, standardised: their mean is 0 and their sample standard deviation 1. Leading axes are weightings."""

    mu_N: np.ndarray
    v_N: np.ndarray  # variances, in the same unit squared

    def z(self, pairs_E2: np.ndarray) -> np.ndarray:
        """Returns the difference of utilities of each pair, in standard deviations, [..., E]."""
        i, j = pairs_E2.T
        gap = self.mu_N[..., i] - self.mu_N[..., j]
        return gap / np.sqrt(self.v_N[..., i] + self.v_N[..., j])

    def p(self, pairs_E2: np.ndarray) -> np.ndarray:
        """Returns the share of the first outcome of each pair, [..., E]."""
        return ndtr(self.z(pairs_E2))


def log_loss(z_E: np.ndarray, p_E: np.ndarray) -> np.ndarray:
    """Returns the binary cross-entropy of each pair in nats.

    Args:
      z_E: as `Utilities.z`.
      p_E: shares that were answered.
    """
    return -(p_E * log_ndtr(z_E) + (1 - p_E) * log_ndtr(-z_E))


def _mills(z: np.ndarray) -> np.ndarray:
    """Returns phi(z) / Phi(z)."""
    return np.sqrt(2 / np.pi) / erfcx(-z / np.sqrt(2))


def ends_of(pairs_E2: np.ndarray, outcomes: int) -> sparse.csr_array:
    """Returns which outcome stands first in each pair, and then which second, [2 E, N]."""
    rows = np.arange(2 * len(pairs_E2))
    return sparse.csr_array((np.ones(len(rows)), (rows, pairs_E2.T.ravel())), shape=(len(rows), outcomes))


def _gradient(
    mu_RN: np.ndarray, s_RN: np.ndarray, pairs_E2: np.ndarray, p_E: np.ndarray, w_RE: np.ndarray, ends: sparse.csr_array
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gradient of the mean cross-entropy by mu and by s = log v, [R, N] each.

    Args:
      w_RE: weights of the pairs, which sum to 1.
      ends: as `ends_of`.
    """
    i, j = pairs_E2.T
    v_RN = np.exp(s_RN)
    variance_RE = v_RN[:, i] + v_RN[:, j] + LEAST
    scale_RE = 1 / np.sqrt(variance_RE)
    z_RE = np.clip((mu_RN[:, i] - mu_RN[:, j]) * scale_RE, -FAR, FAR)
    by_z_RE = w_RE * ((1 - p_E) * _mills(-z_RE) - p_E * _mills(z_RE))
    by_gap_RE = by_z_RE * scale_RE
    by_v_RE = -by_z_RE * z_RE / (2 * variance_RE)
    by_mu_RN = (ends.T @ np.concatenate([by_gap_RE, -by_gap_RE], axis=1).T).T
    by_v_RN = (ends.T @ np.concatenate([by_v_RE, by_v_RE], axis=1).T).T
    return by_mu_RN, by_v_RN * v_RN


def _descended(
    start: tuple[np.ndarray, np.ndarray], pairs_E2: np.ndarray, p_E: np.ndarray, w_RE: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns mu and s after some steps of Adam."""
    ends = ends_of(pairs_E2, start[0].shape[1])
    w_RE = w_RE / w_RE.sum(1, keepdims=True)
    x = np.stack(start)  # [2, R, N]
    m, v = np.zeros_like(x), np.zeros_like(x)
    for step in range(1, steps + 1):
        g = np.stack(_gradient(x[0], x[1], pairs_E2, p_E, w_RE, ends))
        m += (1 - BETA_1) * (g - m)
        v += (1 - BETA_2) * (g * g - v)
        x -= RATE * (m / (1 - BETA_1**step)) / (np.sqrt(v / (1 - BETA_2**step)) + TINY)
    return x[0], x[1]


def standardised(mu_RN: np.ndarray, v_RN: np.ndarray) -> Utilities:
    """Returns utilities with mean 0 and sample standard deviation 1, and variances in that unit; all z stay the same.
    Utilities that are all equal, but for what is left of the start of a fit, are 0."""
    mu_RN = mu_RN - mu_RN.mean(-1, keepdims=True)
    spread = mu_RN.std(-1, ddof=1, keepdims=True)
    is_flat = spread < EQUAL * np.sqrt(v_RN.mean(-1, keepdims=True))
    spread = np.where(is_flat, 1.0, spread)
    return Utilities(np.where(is_flat, 0.0, mu_RN / spread), (v_RN + LEAST / 2) / spread**2)


def fit_each(
    pairs_E2: np.ndarray, p_E: np.ndarray, outcomes: int, w_RE: np.ndarray, seed: int = 0, steps: int = STEPS
) -> Utilities:
    """Fits utilities to shares under several weightings of the pairs, each from the same start, [R, N].

    Args:
      pairs_E2: two outcomes a pair.
      p_E: the share of the first.
      outcomes: how many there are; one that stands in no pair keeps a utility near the mean.
      w_RE: weights of the pairs, 0 for those that are left out.
      seed: of the start.
    """
    start = 0.01 * np.random.default_rng(seed).standard_normal((2, 1, outcomes))
    at_once = max(1, AT_ONCE // len(pairs_E2))

    def some(first: int) -> Utilities:
        w = w_RE[first : first + at_once]
        mu, s = (np.repeat(x, len(w), axis=0) for x in start)
        mu_RN, s_RN = _descended((mu, s), pairs_E2, p_E, w, steps)
        return standardised(mu_RN, np.exp(s_RN))

    firsts = range(0, len(w_RE), at_once)
    with ThreadPoolExecutor(THREADS) as pool:  # numpy lets go of the interpreter's lock
        bar = console.progress(
            pool.map(some, firsts), total=len(firsts), desc="fitting utilities", leave=False, delay=3
        )
        found = list(bar)
    return Utilities(np.concatenate([u.mu_N for u in found]), np.concatenate([u.v_N for u in found]))


def fit(pairs_E2: np.ndarray, p_E: np.ndarray, outcomes: int, seed: int = 0, steps: int = STEPS) -> Utilities:
    """Fits utilities to shares, [N]; arguments as of `fit_each`."""
    found = fit_each(pairs_E2, p_E, outcomes, np.ones((1, len(p_E))), seed, steps)
    return Utilities(found.mu_N[0], found.v_N[0])
