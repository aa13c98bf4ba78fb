"""Second-order calibration: the model's Dirichlet as a forecast of how divided each question's votes are.

alpha = s p makes the votes for option k beta-binomial: c_k ~ BetaBinomial(N, s p_k, s (1 - p_k)), the marginal of the
Dirichlet-multinomial. A model whose shares are right on average can still be too sure or too unsure of each question.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import betainc

from moral_jax.analysis import ceiling, metrics
from moral_jax.analysis.bootstrap import Resampling, Statistic, estimate, sharing
from moral_jax.analysis.calibrate import Calibration, fixed
from moral_jax.analysis.table import Table

LEVELS = (0.5, 0.8, 0.95)
MANY = 10_000  # votes of a row; above, the forecast of a share is as good as continuous
ROUNDING = 0.05  # of a vote, and still whole: votes may be shares that were rounded
CERTAIN = 1e12  # the concentration of true shares: their votes are multinomial
CEILING_DRAWS = 20
SAME = 1e-6  # log concentrations closer than this count as equal, because they passed through float32


def vote_probabilities(alpha_C: np.ndarray, total: int) -> np.ndarray:
    """Returns P(c_k = n) for n = 0 .. N under the beta-binomial of each option, [C, N + 1].

    Uses the ratio of neighbours, f(n + 1) / f(n) = (N - n)(a + n) / ((n + 1)(b + N - 1 - n)): no large numbers are
    subtracted, however large or small the concentration.
    """
    n = np.arange(total)
    a_C1 = np.maximum(alpha_C, metrics.TINY)[:, None]
    b_C1 = np.maximum(alpha_C.sum() - alpha_C, metrics.TINY)[:, None]
    steps = np.log((total - n) / (n + 1)) + np.log(a_C1 + n) - np.log(b_C1 + (total - 1 - n))
    log_f = np.concatenate([np.zeros((len(alpha_C), 1)), np.cumsum(steps, axis=-1)], axis=-1)
    f = np.exp(log_f - log_f.max(-1, keepdims=True))
    return f / f.sum(-1, keepdims=True)


def covered(alpha_C: np.ndarray, counts_C: np.ndarray) -> np.ndarray:
    """Returns how much of each option's count lies in the central interval of each level, [C, levels], 0 to 1.

    Votes are whole numbers, so an interval with exactly 80 % of the forecast rarely exists. As in a randomised test,
    the observed count c stands for the interval from F(c - 1) to F(c) of the forecast's distribution function. The
    result is the part of that interval that lies in the middle 80 %. Under a correct model its expectation is the
    level, exactly and for any N (the non-randomised PIT of Czado, Gneiting and Held, Biometrics 65, 2009).
    """
    counts = counts_C.astype(np.int64)
    if counts.sum() > MANY:
        bottom_C, top_C = _share_distribution(alpha_C, counts)
        return _inside(top_C, top_C - bottom_C)
    f = vote_probabilities(alpha_C, int(counts.sum()))
    rows = np.arange(len(counts))
    return _inside(np.cumsum(f, axis=-1)[rows, counts], f[rows, counts])


def _inside(top_C: np.ndarray, width_C: np.ndarray) -> np.ndarray:
    """Returns the part of [top - width, top] in the middle of every level, [C, levels]; of a point, whether it is."""
    levels = np.array(LEVELS)
    low, high = (1 - levels) / 2, (1 + levels) / 2
    inside = np.minimum(top_C[:, None], high) - np.maximum((top_C - width_C)[:, None], low)
    point = (top_C[:, None] >= low) & (top_C[:, None] <= high)  # used where the forecast gives the count no probability
    width_C1 = width_C[:, None]
    return np.where(width_C1 > 0, np.clip(inside, 0, None) / np.maximum(width_C1, metrics.TINY), point)


def _share_distribution(alpha_C: np.ndarray, counts_C: np.ndarray) -> np.ndarray:
    """Returns the forecast's distribution function below and at the observed counts of very many votes, [2, C].

    The share c / N has mean p and variance p (1 - p) (s + N) / (N (s + 1)). The Beta with these two moments stands for
    its distribution, cut into N + 1 equal parts for the counts: no array is as long as the votes.
    """
    N, s = float(counts_C.sum()), float(alpha_C.sum())
    p_C = np.clip(alpha_C / s, 1e-12, 1 - 1e-12)
    narrower = max(N * (s + 1) / (s + N) - 1, metrics.TINY)
    ends_2C = np.stack([counts_C, counts_C + 1]) / (N + 1)
    return betainc(narrower * p_C, narrower * (1 - p_C), ends_2C)


def coverage(t: Table) -> np.ndarray:
    """Returns the coverage of each question, averaged over its options, [E, levels]; votes must be whole numbers."""
    out = np.empty((len(t.p_EC), len(LEVELS)))
    for e, exists_C in enumerate(t.exists_EC):
        out[e] = covered(t.concentration_E[e] * t.p_EC[e, exists_C], t.counts_EC[e, exists_C]).mean(0)
    return out


def observed_split(t: Table) -> np.ndarray:
    """Returns how divided the votes are, [E]: sum_k q_k (1 - q_k) over its maximum, from 0 (all agree) to 1 (even)."""
    return (1 - np.square(t.q_EC).sum(-1)) / (1 - 1 / t.options_E)


def expected_split(t: Table) -> np.ndarray:
    """Returns the split that the model expects for as many votes, [E].

    With q_k = c_k / N beta-binomial, E[q_k^2] = p_k^2 + p_k (1 - p_k) (s + N) / (N (s + 1)).
    """
    N_E, s_E = t.counts_EC.sum(-1), t.concentration_E
    variance_EC = t.p_EC * (1 - t.p_EC) * ((s_E + N_E) / (N_E * (s_E + 1)))[:, None]
    return (1 - (np.square(t.p_EC) + variance_EC).sum(-1)) / (1 - 1 / t.options_E)


def _ranks(x_E: np.ndarray, w_RE: np.ndarray) -> np.ndarray:
    """Returns mid-ranks [R, E] of rows that occur w times each; tied rows get their mean rank."""
    order = np.argsort(x_E, kind="stable")
    _, starts, tied = np.unique(x_E[order], return_index=True, return_inverse=True)
    weight_RG = np.add.reduceat(w_RE[:, order], starts, axis=-1)
    out_RE = np.empty_like(w_RE)
    out_RE[:, order] = (np.cumsum(weight_RG, axis=-1) - (weight_RG - 1) / 2)[:, tied]
    return out_RE


def spearman(x_E: np.ndarray, y_E: np.ndarray, w_RE: np.ndarray) -> np.ndarray:
    """Returns the rank correlation [R] of rows that occur w times each; 0 where either side is constant."""
    total_R1 = w_RE.sum(-1, keepdims=True)
    x, y = (r - (w_RE * r).sum(-1, keepdims=True) / total_R1 for r in (_ranks(x_E, w_RE), _ranks(y_E, w_RE)))
    covariance = (w_RE * x * y).sum(-1)
    spread = np.sqrt((w_RE * x * x).sum(-1) * (w_RE * y * y).sum(-1))
    return np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 1e-9)


def whole_votes(t: Table) -> np.ndarray:
    """Returns the rows whose votes are whole numbers but for rounding, such as 2.9999 or 0.83 of six."""
    near = np.abs(t.counts_EC - np.round(t.counts_EC)).max(-1) <= ROUNDING
    return np.flatnonzero(near & (np.round(t.counts_EC).sum(-1) == np.round(t.counts_EC.sum(-1))))


def _ceiling(t: Table, seed: int) -> float:
    """Returns the split correlation that the true shares would have, under the Dirichlet fitted to these votes."""

    def correlation(pi_EC: np.ndarray, counts_EC: np.ndarray) -> float:
        drawn = t.replace(p_EC=pi_EC, counts_EC=counts_EC.astype(float), concentration_E=np.full(len(pi_EC), CERTAIN))
        return float(spearman(expected_split(drawn), observed_split(drawn), np.ones((1, len(pi_EC))))[0])

    return ceiling.split_ceiling(t, ceiling.fitted_alpha(t, t.counts_EC), correlation, CEILING_DRAWS, seed)


def second_order(
    t: Table, calibration: Calibration | None, resamples: int, seed: int, keys: Sequence[Sequence[str]]
) -> dict[str, Any] | None:
    """Returns second-order metrics of the rows whose votes are whole numbers; None if there are none.

    - rows, of: how many rows they are, of how many.
    - coverage: by level, see `covered`.
    - split_correlation: Spearman correlation of the expected with the observed split.
    - split_ceiling: what the true shares would reach with as few votes.
    - concentration_correlation: Spearman correlation of the concentration with the observed split; left out where all
      questions have one concentration.
    - dirichlet_gain: Dirichlet NLL with one concentration for all questions, fitted on validation rows, minus that with
      the model's own concentrations; shares are unchanged. Above 0 the model knows which questions divide people. Left
      out without validation rows.
    """
    rows, of = whole_votes(t), len(t.p_EC)
    if len(rows) == 0:
        return None
    t = t.take(rows)
    t = t.replace(counts_EC=np.round(t.counts_EC))
    split_E, expected_E, log_s_E = observed_split(t), expected_split(t), np.log(t.concentration_E)
    wanted: dict[str, np.ndarray | Statistic] = dict(zip(map("{:g}".format, LEVELS), coverage(t).T, strict=True))
    wanted["split_correlation"] = lambda w_RE: spearman(expected_E, split_E, w_RE)
    out: dict[str, Any] = {"rows": len(rows), "of": of, "split_ceiling": _ceiling(t, seed)}
    if np.ptp(log_s_E) > SAME:
        wanted["concentration_correlation"] = lambda w_RE: spearman(log_s_E, split_E, w_RE)
    if calibration is not None:
        fixed_nll_E = metrics.dirichlet_nll(fixed(t, calibration.fixed_concentration))
        out["fixed_concentration"] = calibration.fixed_concentration
        wanted["dirichlet_gain"] = fixed_nll_E - metrics.dirichlet_nll(t)
    resampling = Resampling(len(rows), resamples, seed, sharing([keys[i] for i in rows]))
    found = {name: estimate(name, d) for name, d in resampling.draws(wanted).items()}
    return out | {"coverage": {f"{level:g}": found.pop(f"{level:g}") for level in LEVELS}} | found
