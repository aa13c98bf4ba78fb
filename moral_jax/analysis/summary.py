"""Summarises one set of records: estimates with intervals, subsets, order effects, second panel, yardsticks."""

from typing import Any

import numpy as np

from moral_jax.analysis import ceiling, metrics
from moral_jax.analysis.bounds import bounds
from moral_jax.analysis.calibrate import Calibration, concentrate, cool
from moral_jax.analysis.second_order import second_order
from moral_jax.analysis.table import Table, from_records, pad
from moral_jax.runs.records import Record

Estimate = dict[str, float]
YARDSTICK_METRICS = ("cross_entropy", "dirichlet_nll", "total_variation", "accuracy", "macro_f1")
VALIDATED = ("cross_entropy", "dirichlet_nll", "accuracy")
SMALLEST_GROUP = 5  # rows; with fewer, an interval is meaningless


def _point(name: str, t: Table) -> float:
    return float(metrics.METRICS[name](t, np.ones((1, len(t.p_EC))))[0])


def _means(values: dict[str, np.ndarray], w_RE: np.ndarray) -> dict[str, Estimate]:
    return {name: metrics.mean_estimate(v, w_RE) for name, v in values.items()}


def calibrated(t: Table, calibration: Calibration) -> dict[str, np.ndarray]:
    """Returns the two main metrics after calibration, [E] each."""
    return {
        "calibrated_cross_entropy": metrics.cross_entropy(cool(t, calibration.temperature)),
        "calibrated_dirichlet_nll": metrics.dirichlet_nll(concentrate(t, calibration.concentration_factor)),
    }


def order_sensitivity(record: Record) -> float:
    """Returns the mean total variation between a row's distribution in one order and its average over orders."""
    p_OC = np.array([o["probabilities"] for o in record["orders"]])
    return float(np.abs(p_OC - p_OC.mean(0)).sum(-1).mean() / 2)


def _first_place_bias(record: Record) -> float:
    """Returns the mean share of the option shown first, minus one over the number of options."""
    return float(np.mean([o["probabilities"][o["order"][0]] for o in record["orders"]]) - 1 / len(record["options"]))


def _order_effects(records: list[Record], w_RE: np.ndarray) -> dict[str, Estimate]:
    """Returns how much the order of options matters; empty where each row was shown in one order only."""
    if max(len(r["orders"]) for r in records) < 2:
        return {}
    of_row = {"first_place_bias": _first_place_bias, "order_sensitivity": order_sensitivity}
    return {name: metrics.mean_estimate(np.array(list(map(f, records))), w_RE) for name, f in of_row.items()}


def with_row_numbers(records: list[Record]) -> list[Record]:
    """Adds to each record the numbers that the report shows for a row.

    These are `kl`, the KL divergence of the votes from the prediction, and `order_sensitivity`.
    """
    kl_E = metrics.kl(from_records(records))
    return [
        record | {"kl": float(kl), "order_sensitivity": order_sensitivity(record)}
        for record, kl in zip(records, kl_E, strict=True)
    ]


def _choices(records: list[Record], t: Table, w_RE: np.ndarray) -> dict[str, Estimate]:
    """Returns accuracy and macro F1 of the options that a rule picks, as in Scruples; empty where nothing is picked."""
    if not all("choice" in r for r in records):
        return {}
    picked = t.replace(p_EC=np.eye(t.p_EC.shape[1])[[r["choice"] for r in records]])
    return {
        f"choice_{name}": metrics.estimate(metrics.METRICS[name], picked, w_RE) for name in ("accuracy", "macro_f1")
    }


def _second_panel(records: list[Record], t: Table, resamples: int, seed: int) -> dict[str, Estimate]:
    """Returns how often the model, and the first panel, agree with the plurality of an independent second panel."""
    rows = np.flatnonzero([r["second_counts"] is not None for r in records])
    if len(rows) < SMALLEST_GROUP:
        return {}
    second = pad([records[i]["second_counts"] for i in rows], t.p_EC.shape[1]).argmax(-1)
    w_RE = metrics.resamples(len(rows), resamples, seed)
    return {
        "second_panel_agreement": metrics.mean_estimate((t.p_EC[rows].argmax(-1) == second).astype(float), w_RE),
        "second_panel_human": metrics.mean_estimate((t.counts_EC[rows].argmax(-1) == second).astype(float), w_RE),
    }


def legacy(records: list[Record], t: Table) -> dict[str, np.ndarray]:
    """Returns the study's two metrics, [E] each; empty where some record has no vocabulary probabilities.

    Only the first order counts, and vocabulary probabilities are not renormalised.
    """
    if any(r["option_mass"] is None for r in records):
        return {}
    first = from_records(records, given_order_only=True)
    mass_E = np.exp([r["orders"][0]["log_mass"] for r in records])
    p_EC = first.p_EC * mass_E[:, None]
    return {
        "legacy_cross_entropy": metrics.legacy_cross_entropy(p_EC, t.q_EC, t.exists_EC),
        "legacy_dirichlet": metrics.legacy_dirichlet(p_EC, t.counts_EC),
    }


def yardsticks(t: Table, train: Table | None, draws: int, seed: int) -> dict[str, dict[str, float]]:
    """Returns scores of predictors that never read the text, on the rows of `t`.

    "best constant" knows the votes of these rows; each of its metrics is the best that any constant can reach. BEST's
    Dirichlet NLL is taken at infinite concentration, because a draw is a claim about the true shares.
    """

    def constant(p: Table, alpha: Table) -> dict[str, float]:
        scores = {name: _point(name, p) for name in YARDSTICK_METRICS}
        return scores | {"dirichlet_nll": _point("dirichlet_nll", alpha)}

    out = {"uniform": constant(ceiling.uniform(t), ceiling.uniform(t))}
    if train is not None:
        out["train prior"] = constant(ceiling.mean_share(t, train), ceiling.dirichlet_prior(t, train))
    out["best constant"] = constant(ceiling.mean_share(t, t), ceiling.dirichlet_prior(t, t))
    drawn = []
    for draw in ceiling.best_draws(t, draws, seed):
        scores = {name: _point(name, draw) for name in YARDSTICK_METRICS}
        certain = metrics.cross_entropy(draw) * t.counts_EC.sum(-1)
        drawn.append(scores | {"dirichlet_nll": float(certain.mean())})
    out["BEST"] = {name: float(np.mean([d[name] for d in drawn])) for name in YARDSTICK_METRICS}
    return out


def reliability(t: Table) -> list[dict[str, float]]:
    """Returns for each bin of predicted shares the mean predicted share, mean human share, and (row, option) pairs."""
    rows, columns = np.nonzero(t.exists_EC)
    p, q = t.p_EC[rows, columns], t.q_EC[rows, columns]
    bins = metrics.bin_of(p)
    return [
        {"predicted": float(p[bins == b].mean()), "human": float(q[bins == b].mean()), "pairs": int((bins == b).sum())}
        for b in np.unique(bins)
    ]


def groups(records: list[Record], t: Table, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Returns the main metrics on every named subset of at least SMALLEST_GROUP rows."""
    out: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(k for r in records for k in r["groups"]):
        names = [r["groups"].get(kind) for r in records]
        for name in sorted({n for n in names if n is not None}):
            rows = np.flatnonzero([n == name for n in names])
            if len(rows) < SMALLEST_GROUP:
                continue
            part, w_RE = t.take(rows), metrics.resamples(len(rows), resamples, seed)
            chosen = ("cross_entropy", "entropy_floor", "dirichlet_nll", "total_variation", "accuracy")
            out.setdefault(kind, {})[name] = {"rows": len(rows)} | {
                m: metrics.estimate(metrics.METRICS[m], part, w_RE) for m in chosen
            }
    return out


def summarise(
    records: list[Record], calibration: Calibration | None, train: Table | None, resamples: int, draws: int, seed: int
) -> dict[str, Any]:
    """Returns everything in `metrics.json`.

    Args:
      records: as `records.make_records` returns them.
      calibration: fitted on other rows; None leaves the calibrated metrics out.
      train: training votes for the "train prior" yardstick; None leaves it out.
      resamples: number of bootstrap resamples.
      draws: number of draws of BEST.
      seed: seed of both.
    """
    t = from_records(records)
    w_RE = metrics.resamples(len(records), resamples, seed)
    estimates = {name: metrics.estimate(metric, t, w_RE) for name, metric in metrics.METRICS.items()}
    if calibration is not None:
        estimates |= _means(calibrated(t, calibration), w_RE)
    if all(r["option_mass"] is not None for r in records):
        estimates["option_mass"] = metrics.mean_estimate(np.array([r["option_mass"] for r in records]), w_RE)
    estimates["concentration"] = metrics.mean_estimate(t.concentration_E, w_RE)
    estimates["prediction_entropy"] = metrics.mean_estimate(np.array([r["entropy"] for r in records]), w_RE)
    estimates |= _order_effects(records, w_RE)
    estimates |= _choices(records, t, w_RE)
    estimates |= _second_panel(records, t, resamples, seed)
    estimates |= _means(legacy(records, t), w_RE)
    return {
        "rows": len(records),
        "metrics": estimates,
        "calibration": None if calibration is None else calibration._asdict(),
        "groups": groups(records, t, resamples, seed),
        "yardsticks": yardsticks(t, train, draws, seed),
        "reliability": reliability(t),
        "bounds": bounds(records, t),
        "second_order": second_order(t, calibration, resamples, seed),
    }


def point_estimates(records: list[Record], names: tuple[str, ...]) -> dict[str, float]:
    """Returns a few metrics without intervals, as a validation during training logs them."""
    t = from_records(records)
    return {name: _point(name, t) for name in names}


def compare(before: list[Record], after: list[Record], resamples: int, seed: int) -> dict[str, Estimate]:
    """Returns paired differences, after minus before; rows and resamples are shared."""
    a, b = from_records(before), from_records(after)
    w_RE = metrics.resamples(len(before), resamples, seed)
    chosen = ("cross_entropy", "dirichlet_nll", "total_variation", "accuracy", "macro_f1")
    out = {}
    for name in chosen:
        metric = metrics.METRICS[name]
        one = np.ones((1, len(before)))
        low, high = np.percentile(metric(b, w_RE) - metric(a, w_RE), [2.5, 97.5])
        value = float(metric(b, one)[0] - metric(a, one)[0])
        out[name] = {"value": value, "low": float(low), "high": float(high)}
    return out
