"""Metrics of predicted against human vote distributions, in float64 NumPy.

A metric takes a table and row weights [R, E], and returns [R]. Weights of one give the estimate; a bootstrap's weights
give its resamples. CE and the Dirichlet-multinomial likelihood follow Scruples (metrics.py and loss.py of arXiv
2008.09094). Labels and formulas of all are in `moral_jax.runs.quantities`.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import gammaln, xlogy

from moral_jax.analysis.table import Table

TINY = 1e-300  # lower limit of probabilities, so that no log is infinite
BINS = 10
TIED = 1e-9  # probabilities closer than this are tied: they are means over orders, with rounding
LARGE = 1e4  # from here on a difference of log-gammas is taken by Stirling's series, whose next term is 1e-15

RowMetric = Callable[[Table], np.ndarray]
Metric = Callable[[Table, np.ndarray], np.ndarray]


def cross_entropy(t: Table) -> np.ndarray:
    """Returns - sum_k q_k log p_k, where q are the shares of the votes, [E], nats."""
    return -np.sum(t.q_EC * np.log(np.maximum(t.p_EC, TINY)), axis=-1)


def entropy(p_EC: np.ndarray) -> np.ndarray:
    """Returns - sum_k p_k log p_k, [E], nats."""
    return -xlogy(p_EC, p_EC).sum(-1)


def vote_entropy(t: Table) -> np.ndarray:
    """Returns the entropy of the shares of the votes, [E], nats: lower than that of the true shares on average."""
    return entropy(t.q_EC)


def kl(t: Table) -> np.ndarray:
    """Returns KL(q || p), [E], nats."""
    return cross_entropy(t) - vote_entropy(t)


def jensen_shannon(t: Table) -> np.ndarray:
    """Returns the Jensen-Shannon divergence of p and q, [E], nats."""
    middle_EC = (t.p_EC + t.q_EC) / 2
    return np.maximum(entropy(middle_EC) - (entropy(t.p_EC) + entropy(t.q_EC)) / 2, 0.0)


def jensen_shannon_distance(t: Table) -> np.ndarray:
    """Returns the square root of the Jensen-Shannon divergence in nats, [E], as ChaosNLI and SciPy have it."""
    return np.sqrt(jensen_shannon(t))


def total_variation(t: Table) -> np.ndarray:
    """Returns sum_k |p_k - q_k| / 2, [E]."""
    return np.abs(t.p_EC - t.q_EC).sum(-1) / 2


def brier(t: Table) -> np.ndarray:
    """Returns sum_k (p_k - q_k)^2, [E]."""
    return np.square(t.p_EC - t.q_EC).sum(-1)


def squared_distance(t: Table) -> np.ndarray:
    """Returns an unbiased estimate of sum_k (p_k - pi_k)^2, pi the true shares, [E]; NaN for rows of one vote.

    N votes put q off pi by pi (1 - pi) / N in the square, which q (1 - q) / (N - 1) estimates without bias.
    """
    N_E = t.counts_EC.sum(-1)
    noise_E = (t.q_EC * (1 - t.q_EC)).sum(-1) / np.where(N_E >= 2, N_E - 1, np.nan)
    return brier(t) - noise_E


def log_rising(a: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Returns lgamma(a + n) - lgamma(a) to rounding, also where a is so large that both lose all digits of n."""
    a, n = np.broadcast_arrays(np.asarray(a, float), np.asarray(n, float))
    large = np.maximum(a, LARGE)
    series = (large + n - 0.5) * np.log1p(n / large) + n * np.log(large) - n + (1 / (large + n) - 1 / large) / 12
    small = np.minimum(a, LARGE)
    return np.where(a > LARGE, series, gammaln(small + n) - gammaln(small))


def dirichlet_nll(t: Table) -> np.ndarray:
    """Returns -log likelihood of the vote sequence under alpha = s * p, [E]; no multinomial coefficient."""
    return nll_of_alpha(t.concentration_E[:, None] * t.p_EC, t.counts_EC)


def nll_of_alpha(alpha_EC: np.ndarray, counts_EC: np.ndarray) -> np.ndarray:
    """Returns -log likelihood of the vote sequence under a Dirichlet, [E]; no multinomial coefficient."""
    options_E = np.where(counts_EC > 0, log_rising(np.maximum(alpha_EC, TINY), counts_EC), 0.0).sum(-1)
    return log_rising(np.maximum(alpha_EC.sum(-1), TINY), counts_EC.sum(-1)) - options_E


def per_vote(t: Table) -> np.ndarray:
    """Returns the Dirichlet NLL per vote, [E], so that rows with thousands of votes do not decide the mean."""
    return dirichlet_nll(t) / t.counts_EC.sum(-1)


def picks(x_EC: np.ndarray) -> np.ndarray:
    """Returns the part that every option has in being the largest, [E, C]: of m tied options each has 1 / m."""
    top_EC = x_EC >= x_EC.max(-1, keepdims=True) - TIED
    return top_EC / top_EC.sum(-1, keepdims=True)


def correct(t: Table) -> np.ndarray:
    """Returns how often the likeliest option is the plurality's, [E]: 0 or 1, or the expectation where some tie."""
    return (picks(t.p_EC) * picks(t.counts_EC)).sum(-1)


def entropy_error(t: Table) -> np.ndarray:
    """Returns the entropy of the prediction minus that of the votes' shares, [E], nats."""
    return entropy(t.p_EC) - vote_entropy(t)


def absolute_entropy_error(t: Table) -> np.ndarray:
    """Returns the distance of the two entropies, [E], nats: EntCE of Baan et al. (arXiv 2210.16133)."""
    return np.abs(entropy_error(t))


def same_ranks(t: Table) -> np.ndarray:
    """Returns whether votes and prediction rank the options alike, [E]: RankCS of Baan et al. (arXiv 2210.16133).

    Ties are broken at random, in expectation: of all orders that either side allows, the part that both do.
    """
    return np.array([_alike(p[e], c[e]) for p, c, e in zip(t.p_EC, t.counts_EC, t.exists_EC, strict=True)])


def _alike(p_C: np.ndarray, c_C: np.ndarray) -> float:
    """Returns the chance that two random orders agree, each of one side's options with its ties broken at random."""
    higher_p, higher_c = p_C[:, None] - p_C > TIED, c_C[:, None] > c_C
    if (higher_p & higher_c.T).any():
        return 0.0
    tied_p, tied_c = ~(higher_p | higher_p.T), ~(higher_c | higher_c.T)

    def log_orders(tied: np.ndarray) -> float:
        """Returns the log of how many orders the ties allow: the sum of log m! over sets of m tied options."""
        m_C = tied.sum(-1)
        return float((gammaln(m_C + 1) / m_C).sum())

    return float(np.exp(log_orders(tied_p & tied_c) - log_orders(tied_p) - log_orders(tied_c)))


def wasserstein(t: Table) -> np.ndarray:
    """Returns the 1-Wasserstein distance of p and q on the options' positions over their range, [E], 0 to 1.

    Options without a position are left out and both sides renormalised, as in SubPOP (arXiv 2502.16761). NaN for rows
    whose options have fewer than two places, or nothing on them.
    """
    out_E = np.full(len(t.p_EC), np.nan)
    for e, x_C in enumerate(t.positions_EC if t.positions_EC is not None else ()):
        order = np.argsort(x_C, kind="stable")[: np.isfinite(x_C).sum()]
        x, p, q = x_C[order], t.p_EC[e, order], t.q_EC[e, order]
        if len(x) > 1 and x[-1] > x[0] and p.sum() > 0 and q.sum() > 0:
            gap = np.cumsum(p / p.sum() - q / q.sum())[:-1]
            out_E[e] = np.abs(gap) @ np.diff(x) / (x[-1] - x[0])
    return out_E


def _mean(row_metric: RowMetric) -> Metric:
    return lambda t, w_RE: mean_of_known(row_metric(t), w_RE)


def mean_of_known(values_E: np.ndarray, w_RE: np.ndarray) -> np.ndarray:
    """Returns the mean [R] over the rows that have a number; 0 where a resample holds none of them."""
    known_E = np.isfinite(values_E)
    return w_RE @ np.where(known_E, values_E, 0.0) / np.maximum(w_RE @ known_E, TINY)


def macro_f1(t: Table, w_RE: np.ndarray) -> np.ndarray:
    """Returns F1 against the plurality, averaged over the options that are predicted or true in the sample."""
    predicted_EC, true_EC = picks(t.p_EC), picks(t.counts_EC)
    denominator_RC = w_RE @ (predicted_EC + true_EC)
    f1_RC = 2 * (w_RE @ (predicted_EC * true_EC)) / np.maximum(denominator_RC, 1e-12)
    return f1_RC.sum(-1) / np.maximum((denominator_RC > 0).sum(-1), 1)


def bin_of(share: np.ndarray) -> np.ndarray:
    """Returns the index of the bin that a probability falls into, of BINS equal bins of [0, 1]."""
    return np.minimum((share * BINS).astype(int), BINS - 1)


def share_correlation(t: Table, w_RE: np.ndarray) -> np.ndarray:
    """Returns Pearson's correlation of predicted and human shares over all options of all rows, less their means.

    Of every option the mean share is subtracted first, over rows with equally many options: else base rates alone
    correlate, and a constant answer has 0.69 on five unequal options.
    """
    pq_R, pp_R, qq_R = np.zeros((3, len(w_RE)))
    for count in np.unique(t.options_E):
        w_Re, rows = w_RE[:, t.options_E == count], t.options_E == count
        p, q = t.p_EC[rows, :count], t.q_EC[rows, :count]
        p, q = p - p.mean(0), q - q.mean(0)  # of all rows, for the digits; the resample's own means follow
        n_R = np.maximum(w_Re.sum(-1), TINY)
        mp_RC, mq_RC = w_Re @ p, w_Re @ q
        pq_R += w_Re @ (p * q).sum(-1) - (mp_RC * mq_RC).sum(-1) / n_R
        pp_R += w_Re @ (p * p).sum(-1) - (mp_RC * mp_RC).sum(-1) / n_R
        qq_R += w_Re @ (q * q).sum(-1) - (mq_RC * mq_RC).sum(-1) / n_R
    spread_R = np.sqrt(np.maximum(pp_R, 0) * np.maximum(qq_R, 0)) / w_RE.sum(-1)
    return np.divide(pq_R / w_RE.sum(-1), spread_R, out=np.zeros_like(pq_R), where=spread_R > 1e-12)


ROW_METRICS: dict[str, RowMetric] = {  # one number per row; the mean is reported
    "cross_entropy": cross_entropy,
    "dirichlet_nll": dirichlet_nll,
    "total_variation": total_variation,
    "accuracy": correct,
    "squared_distance": squared_distance,
    "vote_entropy": vote_entropy,
    "kl": kl,
    "jensen_shannon": jensen_shannon,
    "jensen_shannon_distance": jensen_shannon_distance,
    "wasserstein": wasserstein,
    "brier": brier,
    "dirichlet_nll_per_vote": per_vote,
    "entropy_error": entropy_error,
    "absolute_entropy_error": absolute_entropy_error,
    "same_ranks": same_ranks,
}
METRICS: dict[str, Metric] = {name: _mean(f) for name, f in ROW_METRICS.items()} | {
    "macro_f1": macro_f1,
    "share_correlation": share_correlation,
}
