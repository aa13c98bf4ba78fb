"""Thurstone's model of pairs: a utility mu and a variance v for each outcome, P(i over j) = Phi((mu_i - mu_j) / sqrt(v_i + v_j)).

Fitted as arXiv 2502.08640 does: mean binary cross-entropy to the shares, from 0.01 N(0, 1), by Adam with a rate of 0.01 in 1,000
full steps. Several weightings of the same pairs (resamples, folds) are fitted at once.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import erfcx, log_ndtr, ndtr

STEPS, AGAIN = 1000, 300  # steps of a fit, and of one that starts from a fit of nearly the same pairs
RATE, BETA_1, BETA_2, TINY = 0.01, 0.9, 0.999, 1e-8  # Adam
LEAST = 1e-5  # added to a sum of variances
FAR = 37.0  # standard deviations beyond which Phi is 0 in float64
AT_ONCE = 8  # weightings that are fitted in one array


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


def _gradient(
    mu_RN: np.ndarray, s_RN: np.ndarray, pairs_E2: np.ndarray, p_E: np.ndarray, w_RE: np.ndarray, ends: sparse.csr_array
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gradient of the mean cross-entropy by mu and by s = log v, [R, N] each.

    Args:
      w_RE: weights of the pairs, which sum to 1.
      ends: [2 E, N], which outcome stands first in each pair, and then which second.
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
    count, outcomes = len(pairs_E2), start[0].shape[1]
    ones, rows = np.ones(2 * count), np.arange(2 * count)
    ends = sparse.csr_array((ones, (rows, pairs_E2.T.ravel())), shape=(2 * count, outcomes))
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
    """Returns utilities with mean 0 and sample standard deviation 1, and variances in that unit; all z stay the same. Utilities
    that are all equal stay 0."""
    mu_RN = mu_RN - mu_RN.mean(-1, keepdims=True)
    spread = mu_RN.std(-1, ddof=1, keepdims=True)
    spread = np.where(spread > 0, spread, 1.0)
    return Utilities(mu_RN / spread, (v_RN + LEAST / 2) / spread**2)


class Fit(NamedTuple):
    """A fit, and where it ended, from which others can start."""

    utilities: Utilities
    mu_N: np.ndarray
    s_N: np.ndarray


def fit(pairs_E2: np.ndarray, p_E: np.ndarray, outcomes: int, seed: int = 0, steps: int = STEPS) -> Fit:
    """Fits utilities to shares.

    Args:
      pairs_E2: two outcomes a pair.
      p_E: the share of the first.
      outcomes: how many there are; one that stands in no pair keeps a utility near the mean.
      seed: of the start.
    """
    start_N = 0.01 * np.random.default_rng(seed).standard_normal((2, 1, outcomes))
    mu_RN, s_RN = _descended((start_N[0], start_N[1]), pairs_E2, p_E, np.ones((1, len(p_E))), steps)
    return Fit(standardised(mu_RN[0], np.exp(s_RN[0])), mu_RN[0], s_RN[0])


def refit(known: Fit, pairs_E2: np.ndarray, p_E: np.ndarray, w_RE: np.ndarray, steps: int = AGAIN) -> Utilities:
    """Fits utilities again with other weights of the pairs, from where a fit ended, [R, N].

    Args:
      w_RE: weights of the pairs, 0 for those that are left out.
    """
    parts = []
    for start in range(0, len(w_RE), AT_ONCE):
        w = w_RE[start : start + AT_ONCE]
        begin = tuple(np.repeat(x[None], len(w), axis=0) for x in (known.mu_N, known.s_N))
        mu_RN, s_RN = _descended((begin[0], begin[1]), pairs_E2, p_E, w, steps)
        parts.append(standardised(mu_RN, np.exp(s_RN)))
    return Utilities(np.concatenate([p.mu_N for p in parts]), np.concatenate([p.v_N for p in parts]))
