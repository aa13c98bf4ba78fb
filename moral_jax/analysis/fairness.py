"""Compares groups: rates, calibration and shares of each, gaps with intervals, and claims that cannot hold together.

A row has a score s in [0, 1], a label y in [0, 1] (1: it happened), a group and a weight w. A score of at least the
threshold is a selection, d = 1. Formulas are of one group::

    base rate             sum w y / sum w
    selection rate        sum w d / sum w
    true positive rate    sum w d y / sum w y
    false positive rate   sum w d (1 - y) / sum w (1 - y)
    predictive value      sum w d y / sum w d
    mean score            sum w s / sum w
    calibration error     sum over bins of abs(sum w (s - y)) / sum w
                          (beside it, what chance alone makes of it where every label is drawn with its score)
    Jensen-Shannon        of the mean score and the base rate of each item, base 2, mean over items by their weight

Bins are the distinct scores, or ten of equal width if there are more than ten. A gap is the first group's number minus
the second's, groups in the order of their names. What is resampled are items; rows without items are one each.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis.bootstrap import Draws, Estimate, Resampling, Sharing, interval
from moral_jax.analysis.metrics import entropy

BINS = 10
SEED = 0
DRAWS = 2000  # of calibration errors by chance
NO_GAP = 0.0005  # at the digits of pages
BASE = "base_rate"
Sums = dict[str, np.ndarray]  # of a group, [U]


class Rows(NamedTuple):
    """A table: rows E of units U that are resampled."""

    score_E: np.ndarray
    label_E: np.ndarray
    weight_E: np.ndarray
    group_E: np.ndarray  # names
    unit_E: np.ndarray  # int
    has_items: bool
    shared: Sharing | None = None

    @property
    def groups(self) -> list[str]:
        """The names of the groups, in order."""
        return sorted(set(self.group_E.tolist()))


class Metric(NamedTuple):
    """What a metric is called; the sums that it is a ratio of, or how it is computed."""

    label: str
    ratio: tuple[str, str] | None


METRICS = {
    "selection_rate": Metric("selection rate", ("selected", "weight")),
    "true_positive_rate": Metric("true positive rate", ("selected_positive", "positive")),
    "false_positive_rate": Metric("false positive rate", ("selected_negative", "negative")),
    "predictive_value": Metric("predictive value", ("selected_positive", "selected")),
    "calibration_error": Metric("calibration error", None),
    "mean_score": Metric("mean score", ("score", "weight")),
    "jensen_shannon": Metric("Jensen-Shannon divergence", None),
}
OF_SCORES = ("calibration_error", "predictive_value")
ERRORS = ("true_positive_rate", "false_positive_rate")


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Returns the Jensen-Shannon divergence of two shares of one option, base 2."""

    def bits(x: np.ndarray) -> np.ndarray:
        return entropy(np.clip(np.stack([x, 1 - x], axis=-1), 0, 1)) / np.log(2)

    return np.maximum(bits((p + q) / 2) - (bits(p) + bits(q)) / 2, 0)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(np.shape(b), np.nan), where=b > 0)


def _sums(rows: Rows, group: str, threshold: float) -> Sums:
    """Returns the sums over the rows of a group, by unit."""
    is_own = rows.group_E == group
    units = int(rows.unit_E.max()) + 1
    w_E, y_E, s_E = rows.weight_E * is_own, rows.label_E, rows.score_E
    d_E = s_E >= threshold
    of = {
        "weight": w_E, "positive": w_E * y_E, "negative": w_E * (1 - y_E), "selected": w_E * d_E, "score": w_E * s_E,
        "selected_positive": w_E * d_E * y_E, "selected_negative": w_E * d_E * (1 - y_E),
    }  # fmt: skip
    return {name: np.bincount(rows.unit_E, values, units) for name, values in of.items()}


def _bins(rows: Rows) -> np.ndarray:
    """Returns the bin of each row by its score."""
    distinct, place = np.unique(rows.score_E, return_inverse=True)
    return place if len(distinct) <= BINS else np.minimum((rows.score_E * BINS).astype(int), BINS - 1)


def _by_chance(rows: Rows, group: str) -> dict[str, float]:
    """Returns the calibration error to be expected, and its 95th percentile, if scores were true: of normal draws with
    the variance of each bin. The weight of rows with items is a number of votes."""
    w_E, bins_E = rows.weight_E * (rows.group_E == group), _bins(rows)
    each_E = (w_E if rows.has_items else w_E**2) * rows.score_E * (1 - rows.score_E)
    spread_N = np.sqrt(np.bincount(bins_E, each_E))
    drawn_RN = np.abs(np.random.default_rng(SEED).normal(size=(DRAWS, len(spread_N)))) * spread_N
    mean = np.sqrt(2 / np.pi) * spread_N.sum() / w_E.sum()
    return {"expected": float(mean), "null": float(np.percentile(drawn_RN.sum(-1) / w_E.sum(), 95))}


def _calibration(rows: Rows, group: str) -> Callable[[np.ndarray], np.ndarray]:
    w_E, bins_E = rows.weight_E * (rows.group_E == group), _bins(rows)
    units, count = int(rows.unit_E.max()) + 1, int(bins_E.max()) + 1
    off_UN = np.zeros((units, count))
    np.add.at(off_UN, (rows.unit_E, bins_E), w_E * (rows.score_E - rows.label_E))
    weight_U = np.bincount(rows.unit_E, w_E, units)
    return lambda w_RU: _ratio(np.abs(w_RU @ off_UN).sum(-1), w_RU @ weight_U)


def _statistics(rows: Rows, group: str, threshold: float, metrics: Sequence[str]) -> dict[str, Callable]:
    """Returns the metrics of a group as functions of the weights of the units."""
    sums = _sums(rows, group, threshold)

    def ratio(above: str, below: str, w_RU: np.ndarray) -> np.ndarray:
        return _ratio(w_RU @ sums[above], w_RU @ sums[below])

    def shares_apart(w_RU: np.ndarray) -> np.ndarray:
        if not rows.has_items:
            return jensen_shannon(ratio("score", "weight", w_RU), ratio("positive", "weight", w_RU))
        known_U = sums["weight"] > 0
        below_U = np.where(known_U, sums["weight"], 1.0)
        apart_U = jensen_shannon(sums["score"] / below_U, sums["positive"] / below_U) * sums["weight"]
        return _ratio(w_RU @ apart_U, w_RU @ sums["weight"])

    out: dict[str, Callable] = {BASE: functools.partial(ratio, "positive", "weight")}
    for name in metrics:
        of = METRICS[name].ratio
        if of:
            out[name] = functools.partial(ratio, *of)
        else:
            out[name] = shares_apart if name == "jensen_shannon" else _calibration(rows, group)
    return out


def _estimate(d: Draws, limits: tuple[float, float]) -> Estimate | None:
    """Returns value and interval; None where the number does not exist, no interval where it does not in a resample."""
    if not np.isfinite(d.value):
        return None
    return interval(d, limits) if np.isfinite(d.rows_R).all() else {"value": d.value}


def count(
    rows: Rows, metrics: Sequence[str], threshold: float, resamples: int, reference: str | None = None
) -> dict[str, Any]:
    """Returns the numbers of all groups, the gaps between them, and the conflicts. JSON.

    Args:
      metrics: of `METRICS`, those that are stated.
      reference: the group that all others are compared with; default: all pairs.
    """
    resampling = Resampling(int(rows.unit_E.max()) + 1, resamples, SEED, rows.shared)
    computed = list(dict.fromkeys([*metrics, *ERRORS]))  # errors tell whether predictions are perfect
    of = {g: _statistics(rows, g, threshold, computed) for g in rows.groups}
    drawn = resampling.draws({f"{g}\0{m}": s for g, by in of.items() for m, s in by.items()})
    groups = {g: _of_group(rows, g, {m: drawn[f"{g}\0{m}"] for m in of[g]}) for g in rows.groups}
    pairs = [p for p in itertools.combinations(rows.groups, 2) if reference is None or reference in p]
    gaps = [
        {"first": a, "second": b} | {m: _estimate(drawn[f"{a}\0{m}"] - drawn[f"{b}\0{m}"], (-1, 1)) for m in of[a]}
        for a, b in pairs
    ]
    return {
        "threshold": threshold,
        "metrics": list(metrics),
        "groups": {g: {k: v for k, v in n.items() if _is_told(k, metrics)} for g, n in groups.items()},
        "gaps": [{k: v for k, v in gap.items() if _is_told(k, metrics)} for gap in gaps],
        "conflicts": [c for gap in gaps if (c := conflict(gap, groups, metrics))],
    }  # fmt: skip


def _of_group(rows: Rows, group: str, drawn: Mapping[str, Draws]) -> dict[str, Any]:
    """Returns the size and the numbers of a group. What is never below 0 has no interval: resampling adds to it."""
    is_own = rows.group_E == group
    out: dict[str, Any] = {
        "items": len(set(rows.unit_E[is_own].tolist())),
        "weight": float(rows.weight_E[is_own].sum()),
    }
    for name, d in drawn.items():
        e = _estimate(d, (0, 1))
        if e is not None and name in METRICS and METRICS[name].ratio is None:
            e = {"value": e["value"]} | (_by_chance(rows, group) if name == "calibration_error" else {})
        out[name] = e
    return out


def _is_told(name: str, metrics: Sequence[str]) -> bool:
    """Returns true for what is stated, and for what describes the table."""
    return name not in METRICS or name in metrics


def _is_closed(gap: Estimate | None) -> bool:
    """Returns true if the interval of a gap holds 0; a gap of too few items for an interval says nothing."""
    return gap is not None and "low" in gap and gap["low"] <= 0 <= gap["high"]


def conflict(gap: Mapping[str, Any], groups: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any] | None:
    """Returns what cannot be closed between two groups, given what is; None where nothing conflicts.

    Where base rates differ, scores that are calibrated in both groups cannot have equal errors in both, unless they are
    always right (Kleinberg, Mullainathan and Raghavan, arXiv 1609.05807). With p the base rate, the predictive value V
    and the true positive rate T fix the false positive rate: p / (1 - p) (1 - V) / V T (Chouldechova, arXiv
    1703.00056).
    """
    a, b = groups[gap["first"]], groups[gap["second"]]
    base = gap[BASE]
    is_open = base is not None and "low" in base and abs(base["value"]) >= NO_GAP
    if not is_open or (_is_perfect(a) and _is_perfect(b)):
        return None
    of_scores = [name for name in OF_SCORES if name in metrics and _is_closed(gap[name])]
    if not (_is_calibrated(a) and _is_calibrated(b)):  # two errors may be equal and large: then nothing follows
        of_scores = [name for name in of_scores if name != "calibration_error"]
    errors = [*ERRORS] if all(name in metrics and _is_closed(gap[name]) for name in ERRORS) else []
    if not of_scores and not errors:
        return None
    told = {name: gap[name] for name in (*OF_SCORES, *ERRORS) if name in metrics}
    knows = {"predictive_value", *ERRORS} <= {*metrics} and "predictive_value" in of_scores
    return {
        "first": gap["first"],
        "second": gap["second"],
        "base_rates": [a[BASE]["value"], b[BASE]["value"]],
        "base_gap": base,
        "closed": [*of_scores, *errors],
        "open": [*(ERRORS if of_scores else ()), *(OF_SCORES if errors else ())],
        "told": told,
        "implied": _implied(a, b) if knows else None,
    }


def _is_calibrated(group: Mapping[str, Any]) -> bool:
    """Returns true if the calibration error is no larger than chance makes it."""
    error = group.get("calibration_error")
    return error is not None and error["value"] <= error["null"]


def _is_perfect(group: Mapping[str, Any]) -> bool:
    told = [group[name] for name in ERRORS]
    return None not in told and told[0]["value"] == 1 and told[1]["value"] == 0


def _implied(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[float] | None:
    """Returns the false positive rates of both groups if both had the first one's true positive rate, and their own
    predictive value."""
    if a["true_positive_rate"] is None or None in (a["predictive_value"], b["predictive_value"]):
        return None
    out = []
    for group in (a, b):
        p, v = group[BASE]["value"], group["predictive_value"]["value"]
        if p == 1 or v == 0:
            return None
        out.append(p / (1 - p) * (1 - v) / v * a["true_positive_rate"]["value"])
    return out
