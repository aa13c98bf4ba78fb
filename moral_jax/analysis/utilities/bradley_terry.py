"""Bradley and Terry's model of pairs, P(i over j) = 1 / (1 + exp(u_j - u_i)), beside Thurstone's: a second opinion with
one number an outcome. Fitted by `choix` (Maystre and Grossglauser, 2015)."""

from typing import NamedTuple

import numpy as np

ALPHA = 0.01  # regularises where answers can be separated, as an outcome that never loses has else no finite utility
ITERATIONS = 1000


class Strengths(NamedTuple):
    """Utilities in logits, their mean 0, and how much they were regularised."""

    u_N: np.ndarray
    alpha: float


def fit(pairs_E2: np.ndarray, p_E: np.ndarray, outcomes: int) -> Strengths:
    """Fits utilities to shares: without regularisation where the answers allow it.

    Args:
      pairs_E2: two outcomes a pair.
      p_E: the share of the first.
    """
    import choix

    wins_NN = np.zeros((outcomes, outcomes))
    np.add.at(wins_NN, (pairs_E2[:, 0], pairs_E2[:, 1]), p_E)
    np.add.at(wins_NN, (pairs_E2[:, 1], pairs_E2[:, 0]), 1 - p_E)
    if ((p_E > 0) & (p_E < 1)).all():
        try:
            return Strengths(choix.ilsr_pairwise_dense(wins_NN, alpha=0.0, max_iter=ITERATIONS), 0.0)
        except (ValueError, RuntimeError):  # an outcome in no pair, or no end of the iteration
            pass
    try:
        return Strengths(choix.ilsr_pairwise_dense(wins_NN, alpha=ALPHA, max_iter=ITERATIONS), ALPHA)
    except RuntimeError:  # one step without iteration: Luce spectral ranking, consistent too
        return Strengths(choix.lsr_pairwise_dense(wins_NN, alpha=ALPHA), ALPHA)
