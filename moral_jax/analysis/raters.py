"""How far raters agree: a judge with people's labels, two judges with each other, any number of people.

Cohen's kappa is (p_o - p_e) / (1 - p_e), p_o the share of replies on which both say the same, p_e what two raters with
these shares of yes would come to by chance. Krippendorff's alpha is 1 - D_o / D_e, the observed over the expected
disagreement of pairs of values (Computing Krippendorff's Alpha-Reliability, 2011).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from moral_jax.analysis.bootstrap import Estimate, Resampling, Statistic, interval

LIMITS = {"kappa": (-1.0, 1.0), "alpha": (-np.inf, 1.0), "correlation": (-1.0, 1.0)}


def kappa(a_E: np.ndarray, b_E: np.ndarray, w_RE: np.ndarray) -> np.ndarray:
    """Returns Cohen's kappa of two raters who say yes (1) or no (0), on each resample; NaN where both say one thing."""
    total = w_RE.sum(-1)
    same, a, b = ((w_RE @ x) / total for x in ((a_E == b_E).astype(float), a_E, b_E))
    chance = a * b + (1 - a) * (1 - b)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance < 1, (same - chance) / (1 - chance), np.nan)


def _share(of_E: np.ndarray, among_E: np.ndarray) -> Statistic:
    def statistic(w_RE: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (w_RE @ (of_E * among_E)) / (w_RE @ among_E)

    return statistic


def of_yes_and_no(said: Sequence[bool], labels: Sequence[bool], resamples: int, seed: int = 0) -> dict[str, Estimate]:
    """Returns accuracy, sensitivity (of replies that people call yes, the share that is called so), specificity (the
    same of no) and kappa, with intervals over resampled replies; those that are not defined are left out."""
    a_E, b_E = np.array(said, float), np.array(labels, float)
    of: dict[str, Statistic] = {
        "accuracy": _share((a_E == b_E).astype(float), np.ones(len(a_E))),
        "sensitivity": _share(a_E, b_E),
        "specificity": _share(1 - a_E, 1 - b_E),
        "kappa": lambda w_RE: kappa(a_E, b_E, w_RE),
    }
    return _estimates(of, len(a_E), resamples, seed)


def of_ratings(said: Sequence[float], labels: Sequence[float], resamples: int, seed: int = 0) -> dict[str, Estimate]:
    """Returns alpha (interval), the mean absolute difference and the correlation of a judge's numbers and people's."""
    a_E, b_E = np.array(said, float), np.array(labels, float)

    def agreement(w_RE: np.ndarray) -> np.ndarray:
        return np.array([alpha(np.repeat(np.stack([a_E, b_E]), w_E.astype(int), axis=1), "interval") for w_E in w_RE])

    def correlation(w_RE: np.ndarray) -> np.ndarray:
        mean = lambda x_E: (w_RE @ x_E) / w_RE.sum(-1)  # noqa: E731
        covariance = mean(a_E * b_E) - mean(a_E) * mean(b_E)
        spread = (mean(a_E**2) - mean(a_E) ** 2) * (mean(b_E**2) - mean(b_E) ** 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(spread > 1e-12, covariance / np.sqrt(spread), np.nan)

    difference = _share(np.abs(a_E - b_E), np.ones(len(a_E)))
    of: dict[str, Statistic] = {"alpha": agreement, "mean difference": difference, "correlation": correlation}
    return _estimates(of, len(a_E), resamples, seed)


def _estimates(of: Mapping[str, Statistic], rows: int, resamples: int, seed: int) -> dict[str, Estimate]:
    found = {}
    for name, d in Resampling(rows, resamples, seed).draws(of).items():
        known = d._replace(rows_R=d.rows_R[np.isfinite(d.rows_R)])
        if np.isfinite(d.value):
            found[name] = interval(known, LIMITS.get(name, (0.0, np.inf if name == "mean difference" else 1.0))) \
                if len(known.rows_R) else {"value": d.value}  # fmt: skip
    return found


Difference = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _ordinal(values_V: np.ndarray, counts_V: np.ndarray) -> np.ndarray:
    """Returns the squared ordinal difference of each pair of values, [V, V]."""
    reached_V = np.cumsum(counts_V) - counts_V / 2
    return (reached_V[:, None] - reached_V[None]) ** 2


METRICS: dict[str, Difference] = {
    "nominal": lambda values_V, _: (values_V[:, None] != values_V[None]).astype(float),
    "ordinal": _ordinal,
    "interval": lambda values_V, _: (values_V[:, None] - values_V[None]) ** 2,
}


def alpha(ratings_KE: np.ndarray, metric: str) -> float:
    """Returns Krippendorff's alpha; NaN where all values are one, or no unit has two.

    Args:
      ratings_KE: of each rater and unit; NaN where somebody gave none.
      metric: how far two values are apart: nominal, ordinal, interval.
    """
    is_known = np.isfinite(ratings_KE)
    pairable_E = is_known.sum(0) > 1
    values_V, place = np.unique(ratings_KE[:, pairable_E][is_known[:, pairable_E]], return_inverse=True)
    if len(values_V) < 2:
        return float("nan")
    units = np.broadcast_to(np.arange(int(pairable_E.sum())), (len(ratings_KE), int(pairable_E.sum())))
    counts_EV = np.zeros((int(pairable_E.sum()), len(values_V)))
    np.add.at(counts_EV, (units[is_known[:, pairable_E]], place), 1)
    m_E = counts_EV.sum(1)
    weighted_EV = counts_EV / (m_E - 1)[:, None]
    coincidences_VV = weighted_EV.T @ counts_EV - np.diag(weighted_EV.sum(0))
    n_V = coincidences_VV.sum(0)
    apart_VV = METRICS[metric](values_V, n_V)
    expected = float(np.sum(np.outer(n_V, n_V) * apart_VV)) / (n_V.sum() - 1)
    return 1 - float(np.sum(coincidences_VV * apart_VV)) / expected


def agreement(
    said: Sequence[float | None], labels: Sequence[float], cut: float, resamples: int = 1000
) -> dict[str, Any]:
    """Returns how far a judge's numbers agree with labels: as yes and no where labels are 0 and 1, else as ratings.

    Args:
      cut: from here on the judge says yes.

    Returns:
      "replies", "unknown" (replies of which the judge cannot say), and the numbers by name.
    """
    known = [(x, label) for x, label in zip(said, labels, strict=True) if x is not None]
    counts = {"replies": len(said), "unknown": len(said) - len(known)}
    if not known:
        return counts
    xs, ys = zip(*known, strict=True)
    if set(labels) <= {0.0, 1.0}:
        return counts | of_yes_and_no([x >= cut for x in xs], [y == 1 for y in ys], resamples)
    return counts | of_ratings(xs, ys, resamples)
