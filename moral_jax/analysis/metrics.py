"""Metrics of predicted against human vote distributions, in float64 NumPy.

A metric takes a table and row weights [R, E], and returns [R]. Weights of one give the estimate; a bootstrap's weights
give its resamples. CE and the Dirichlet-multinomial likelihood follow Scruples (metrics.py and loss.py of arXiv
2008.09094). The two `legacy` metrics follow the released code of arXiv 2410.07826, "the study".
"""

from collections.abc import Callable

import numpy as np
from scipy.special import gammaln

from moral_jax.analysis.table import Table

TINY = 1e-300  # lower limit of probabilities, so that no log is infinite
BINS = 10

RowMetric = Callable[[Table], np.ndarray]
Metric = Callable[[Table, np.ndarray], np.ndarray]


def cross_entropy(t: Table) -> np.ndarray:
    """Returns - sum_k q_k log p_k, where q are the shares of the votes, [E], nats."""
    return -np.sum(t.q_EC * np.log(np.maximum(t.p_EC, TINY)), axis=-1)


def entropy_floor(t: Table) -> np.ndarray:
    """Returns the entropy of the shares of the votes, [E], nats: the cross-entropy if p = q."""
    return cross_entropy(t.replace(p_EC=t.q_EC))


def kl(t: Table) -> np.ndarray:
    """Returns KL(q || p), [E], nats."""
    return cross_entropy(t) - entropy_floor(t)


def jensen_shannon(t: Table) -> np.ndarray:
    """Returns the Jensen-Shannon divergence of p and q, [E], nats."""
    middle = t.replace(p_EC=(t.p_EC + t.q_EC) / 2)
    return (kl(middle) + kl(middle.replace(counts_EC=t.p_EC))) / 2


def total_variation(t: Table) -> np.ndarray:
    """Returns sum_k |p_k - q_k| / 2, [E]."""
    return np.abs(t.p_EC - t.q_EC).sum(-1) / 2


def brier(t: Table) -> np.ndarray:
    """Returns sum_k (p_k - q_k)^2, [E]."""
    return np.square(t.p_EC - t.q_EC).sum(-1)


def dirichlet_nll(t: Table) -> np.ndarray:
    """Returns -log likelihood of the vote sequence under alpha = s * p, [E]; no multinomial coefficient."""
    return _dirichlet_nll(t.concentration_E[:, None] * t.p_EC, t.counts_EC)


def _dirichlet_nll(alpha_EC: np.ndarray, counts_EC: np.ndarray) -> np.ndarray:
    voted = counts_EC > 0
    alpha_EC = np.maximum(alpha_EC, TINY)
    options_E = np.where(voted, gammaln(alpha_EC + counts_EC) - gammaln(alpha_EC), 0.0).sum(-1)
    total_E = np.where(alpha_EC > TINY, alpha_EC, 0.0).sum(-1)
    return gammaln(total_E + counts_EC.sum(-1)) - gammaln(total_E) - options_E


def per_vote(t: Table) -> np.ndarray:
    """Returns the Dirichlet NLL per vote, [E], so that rows with thousands of votes do not decide the mean."""
    return dirichlet_nll(t) / t.counts_EC.sum(-1)


def correct(t: Table) -> np.ndarray:
    """Returns 1 where the likeliest option is the plurality's, else 0, [E]; of tied options the first counts."""
    return (t.p_EC.argmax(-1) == t.counts_EC.argmax(-1)).astype(float)


def _mean(row_metric: RowMetric) -> Metric:
    return lambda t, w_RE: w_RE @ row_metric(t) / w_RE.sum(-1)


def macro_f1(t: Table, w_RE: np.ndarray) -> np.ndarray:
    """Returns F1 against the plurality, averaged over the options that are predicted or true in the sample."""
    f1_RK, counted_RK = [], []
    for k in range(t.p_EC.shape[1]):
        predicted, true = (t.p_EC.argmax(-1) == k).astype(float), (t.counts_EC.argmax(-1) == k).astype(float)
        denominator_R = w_RE @ (predicted + true)
        f1_RK.append(2 * (w_RE @ (predicted * true)) / np.maximum(denominator_R, 1e-12))
        counted_RK.append(denominator_R > 0)
    return np.sum(f1_RK, axis=0) / np.maximum(np.sum(counted_RK, axis=0), 1)


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """Returns the index of the bin that a probability falls into, of BINS equal bins of [0, 1]."""
    return np.minimum((confidence * BINS).astype(int), BINS - 1)


def expected_calibration_error(t: Table, w_RE: np.ndarray) -> np.ndarray:
    """Returns the gap between confidence in the likeliest option and its accuracy, averaged over BINS equal bins."""
    confidence_E = t.p_EC.max(-1)
    gap_E = correct(t) - confidence_E
    bins_EB = np.eye(BINS)[bin_of(confidence_E)]
    return np.abs(w_RE @ (gap_E[:, None] * bins_EB)).sum(-1) / w_RE.sum(-1)


def share_correlation(t: Table, w_RE: np.ndarray) -> np.ndarray:
    """Returns the Pearson correlation of predicted and human shares, over all options of all rows."""
    rows, columns = np.nonzero(t.exists_EC)
    x, y = t.p_EC[rows, columns], t.q_EC[rows, columns]
    w = w_RE[:, rows]
    n = w.sum(-1)
    mx, my = w @ x / n, w @ y / n
    covariance = w @ (x * y) / n - mx * my
    spread = np.sqrt(np.maximum(w @ (x * x) / n - mx**2, 0) * np.maximum(w @ (y * y) / n - my**2, 0))
    return np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 1e-12)


ROW_METRICS: dict[str, RowMetric] = {  # one number per row; the mean is reported
    "cross_entropy": cross_entropy,
    "entropy_floor": entropy_floor,
    "dirichlet_nll": dirichlet_nll,
    "dirichlet_nll_per_vote": per_vote,
    "kl": kl,
    "jensen_shannon": jensen_shannon,
    "total_variation": total_variation,
    "brier": brier,
    "accuracy": correct,
}
METRICS: dict[str, Metric] = {name: _mean(f) for name, f in ROW_METRICS.items()} | {
    "macro_f1": macro_f1,
    "ece": expected_calibration_error,
    "share_correlation": share_correlation,
}


def legacy_cross_entropy(p_EC: np.ndarray, q_EC: np.ndarray, exists_EC: np.ndarray) -> np.ndarray:
    """Returns the study's "cross-entropy": vocabulary probabilities taken for logits, CE(q, softmax(p)), [E].

    It cannot leave [0.313, 1.313] for two options and never reaches the entropy of q.
    """
    exp_EC = np.where(exists_EC, np.exp(p_EC), 0.0)
    softmax_EC = exp_EC / exp_EC.sum(-1, keepdims=True)
    return -np.sum(q_EC * np.log(np.maximum(softmax_EC, TINY)), axis=-1)


def legacy_dirichlet(p_EC: np.ndarray, counts_EC: np.ndarray) -> np.ndarray:
    """Returns the study's "Dirichlet" score, [E]: alpha = p is not renormalised, so option mass decides most of it."""
    return _dirichlet_nll(p_EC, counts_EC)


def resamples(rows: int, count: int, seed: int) -> np.ndarray:
    """Returns bootstrap weights [R, E]: how often each row is drawn if as many rows are drawn with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(rows, np.full(rows, 1 / rows), size=count).astype(float)


def estimate(metric: Metric, t: Table, w_RE: np.ndarray) -> dict[str, float]:
    """Returns the value on all rows and the percentile bootstrap's 95 % interval."""
    value = metric(t, np.ones((1, w_RE.shape[1])))[0]
    low, high = np.percentile(metric(t, w_RE), [2.5, 97.5])
    return {"value": float(value), "low": float(low), "high": float(high)}


def mean_estimate(values_E: np.ndarray, w_RE: np.ndarray) -> dict[str, float]:
    """Returns the mean of a number per row and the percentile bootstrap's 95 % interval."""
    low, high = np.percentile(w_RE @ values_E / w_RE.sum(-1), [2.5, 97.5])
    return {"value": float(values_E.mean()), "low": float(low), "high": float(high)}
