"""Summarises one set of records: estimates with intervals, subsets, order effects, second panel, yardsticks."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from moral_jax.analysis import calibrate, legacy, metrics, share_calibration, yardsticks
from moral_jax.analysis.bootstrap import Draws, Estimate, Resampling, Statistic, estimate, interval, sharing
from moral_jax.analysis.bounds import bounds
from moral_jax.analysis.calibrate import Calibration
from moral_jax.analysis.second_order import second_order
from moral_jax.analysis.table import Table, from_records, pad
from moral_jax.runs.quantities import MAIN
from moral_jax.runs.records import Record

VALIDATED = ("cross_entropy", "dirichlet_nll", "accuracy")
SMALLEST_GROUP = 5  # rows
OF_GROUP = ("cross_entropy", "dirichlet_nll", "total_variation", "accuracy")


def keys_of(records: list[Record]) -> list[list[str]]:
    """Returns what every row shares with others; nothing in records from before keys were written."""
    return [r.get("keys", []) for r in records]


def resampling_of(records: list[Record], count: int, seed: int) -> Resampling:
    """Returns how the rows of some records are resampled."""
    return Resampling(len(records), count, seed, sharing(keys_of(records)))


def statistics(t: Table) -> dict[str, np.ndarray | Statistic]:
    """Returns every metric of a table that has a value there, by name: an array [E], or a statistic of row weights."""
    out: dict[str, np.ndarray | Statistic] = {}
    for name, row_metric in metrics.ROW_METRICS.items():
        values_E = row_metric(t)
        if np.isfinite(values_E).all():
            out[name] = values_E
        elif np.isfinite(values_E).any():
            out[name] = functools.partial(metrics.mean_of_known, values_E)
    if not t.is_exchangeable:  # both are of options that are the same in all rows
        out["macro_f1"] = lambda w_RE: metrics.macro_f1(t, w_RE)
        out["share_correlation"] = lambda w_RE: metrics.share_correlation(t, w_RE)
    return out


def _estimates(draws: dict[str, Draws]) -> dict[str, Estimate]:
    return {name: estimate(name, d) for name, d in draws.items()}


def calibrated(t: Table, calibration: Calibration) -> dict[str, np.ndarray]:
    """Returns the two main metrics after calibration, [E] each."""
    cooled = calibrate.cool(t, calibration.temperature)
    return {
        "calibrated_cross_entropy": metrics.cross_entropy(cooled),
        "calibrated_dirichlet_nll": metrics.dirichlet_nll(calibrate.concentrate(t, calibration.concentration_factor)),
    }


def order_sensitivity(record: Record) -> float:
    """Returns the mean total variation between a row's distribution in one order and its average over orders."""
    p_OC = np.array([o["probabilities"] for o in record["orders"]])
    return float(np.abs(p_OC - p_OC.mean(0)).sum(-1).mean() / 2)


def first_place_bias(record: Record) -> float:
    """Returns the mean share of the option shown first, minus one over the number of options."""
    return float(np.mean([o["probabilities"][o["order"][0]] for o in record["orders"]]) - 1 / len(record["options"]))


def order_effects(records: list[Record]) -> dict[str, np.ndarray]:
    """Returns how much the order of options matters, [E] each; empty where each row was shown in one order only."""
    if max(len(r["orders"]) for r in records) < 2:
        return {}
    of_row = {"first_place_bias": first_place_bias, "order_sensitivity": order_sensitivity}
    return {name: np.array(list(map(f, records))) for name, f in of_row.items()}


def with_row_numbers(records: list[Record]) -> list[Record]:
    """Adds to each record the numbers that the report shows for a row.

    These are `kl`, the KL divergence of the votes from the prediction, and `order_sensitivity`.
    """
    kl_E = metrics.kl(from_records(records))
    return [
        record | {"kl": float(kl), "order_sensitivity": order_sensitivity(record)}
        for record, kl in zip(records, kl_E, strict=True)
    ]


def choices(records: list[Record], t: Table) -> dict[str, np.ndarray | Statistic]:
    """Returns accuracy and macro F1 of the options that a rule picks, as in Scruples; empty where nothing is picked.

    A rule that finds its options alike picks none (None): that counts as all of them, each for its part.
    """
    if not all("choice" in r for r in records):
        return {}
    none, one_hot_CC = t.exists_EC / t.options_E[:, None], np.eye(t.p_EC.shape[1])
    chosen = [none[e] if r["choice"] is None else one_hot_CC[r["choice"]] for e, r in enumerate(records)]
    picked = t.replace(p_EC=np.array(chosen))
    return {
        "choice_accuracy": metrics.correct(picked),
        "choice_macro_f1": lambda w_RE: metrics.macro_f1(picked, w_RE),
    }


def second_panel(records: list[Record], t: Table, count: int, seed: int) -> dict[str, Estimate]:
    """Returns how often the model, and the first panel, agree with the plurality of an independent second panel."""
    rows = np.flatnonzero([r["second_counts"] is not None for r in records])
    if len(rows) < SMALLEST_GROUP:
        return {}
    seen = t.take(rows).replace(counts_EC=pad([records[i]["second_counts"] for i in rows], t.p_EC.shape[1]))
    people = seen.replace(p_EC=t.counts_EC[rows])
    agree = {"second_panel_agreement": metrics.correct(seen), "second_panel_people": metrics.correct(people)}
    return _estimates(resampling_of([records[i] for i in rows], count, seed).draws(agree))


def grouped(records: list[Record]) -> dict[str, dict[str, np.ndarray]]:
    """Returns the rows of every named subset that is large enough, by kind and name."""
    out: dict[str, dict[str, np.ndarray]] = {}
    for kind in dict.fromkeys(k for r in records for k in r["groups"]):
        names = np.array([r["groups"].get(kind, "") for r in records])
        for name in sorted(set(names.tolist()) - {""}):
            rows = np.flatnonzero(names == name)
            if len(rows) >= SMALLEST_GROUP:
                out.setdefault(kind, {})[name] = rows
    return out


def in_groups(records: list[Record], of_part: Callable[[list[Record]], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the number of rows of every named subset that is large enough, and what is said of them."""
    return {
        kind: {name: {"rows": len(rows)} | of_part([records[i] for i in rows]) for name, rows in named.items()}
        for kind, named in grouped(records).items()
    }


def groups(
    records: list[Record], t: Table, of: yardsticks.Rows, resamples: int, seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns the main metrics on every named subset, and under "BEST" the cross-entropy of the true shares there."""
    out: dict[str, dict[str, dict[str, Any]]] = {}
    values = {m: metrics.ROW_METRICS[m](t) for m in OF_GROUP}
    for kind, named in grouped(records).items():
        for name, rows in named.items():
            wanted = {m: values_E[rows] for m, values_E in values.items()}
            found = _estimates(resampling_of([records[i] for i in rows], resamples, seed).draws(wanted))
            out.setdefault(kind, {})[name] = {"rows": len(rows)} | of.best_in(rows) | found
    return out


def against(t: Table, of: yardsticks.Rows, resampling: Resampling) -> dict[str, Estimate]:
    """Returns how far the model's cross-entropy is above that of each yardstick, paired by row."""
    ce_E = metrics.cross_entropy(t)
    above = {name: ce_E - losses["cross_entropy"] for name, losses in of.by_name.items()}
    return {name: interval(d) for name, d in resampling.draws(above).items()}


def summarise(
    records: list[Record], calibration: Calibration | None, train: Table | None, resamples: int, draws: int, seed: int
) -> dict[str, Any]:
    """Returns everything in `metrics.json`.

    Args:
      records: as `records.make_records` returns them.
      calibration: fitted on other rows; None leaves the calibrated metrics out.
      train: training votes for the "train prior" yardstick; None leaves it out.
      resamples: number of bootstrap resamples.
      draws: number of draws of the true shares.
      seed: seed of both.
    """
    t, resampling = from_records(records), resampling_of(records, resamples, seed)
    second_EC = yardsticks.second_votes(records, t.p_EC.shape[1])
    of = yardsticks.rows(t, second_EC)
    wanted = statistics(t) | yardsticks.relative(t, of) | order_effects(records) | choices(records, t)
    if calibration is not None:
        wanted |= calibrated(t, calibration)
    if all(r["option_mass"] is not None for r in records):
        wanted["option_mass"] = np.array([r["option_mass"] for r in records])
    wanted["concentration"], wanted["prediction_entropy"] = t.concentration_E, metrics.entropy(t.p_EC)
    wanted |= legacy.values(records, t)
    drawn = resampling.draws(wanted)
    found = _estimates(drawn) | second_panel(records, t, resamples, seed)
    return {
        "rows": len(records),
        "shared": _shared(records, resampling, drawn["cross_entropy"]),
        "metrics": found | {"share_calibration": share_calibration.with_null(t, seed)},
        "calibration": None if calibration is None else calibration._asdict(),
        "at_bound": [] if calibration is None else calibrate.at_bound(calibration),
        "groups": groups(records, t, of, resamples, seed),
        "yardsticks": yardsticks.table(t, train, second_EC, draws, seed),
        "against": against(t, of, resampling),
        "votes_curve": None if of.votes_curve_EM is None else of.votes_curve_EM.mean(0).tolist(),
        "reliability": share_calibration.reliability(t),
        "bounds": bounds(records, t),
        # how much people differ within a row shows in no single vote
        "second_order": None if t.is_one_vote else second_order(t, calibration, resamples, seed, keys_of(records)),
    }


def _shared(records: list[Record], resampling: Resampling, d: Draws) -> dict[str, Any]:
    """Returns whether records say what rows share, whether any do, and how much wider that makes an interval."""
    known = all("keys" in r for r in records)
    return {"known": known, "rows_share": resampling.shared is not None, "cross_entropy_ratio": d.ratio}


def point_estimates(records: list[Record], names: tuple[str, ...]) -> dict[str, float]:
    """Returns a few metrics without intervals, as a validation during training logs them."""
    t = from_records(records)
    return {name: float(metrics.METRICS[name](t, np.ones((1, len(records))))[0]) for name in names}


def compare(before: list[Record], after: list[Record], resamples: int, seed: int) -> dict[str, Estimate]:
    """Returns paired differences, after minus before; rows and resamples are shared."""
    resampling = resampling_of(after, resamples, seed)
    known = [statistics(from_records(records)) for records in (before, after)]
    names = [name for name in MAIN if all(name in of_side for of_side in known)]
    a, b = (resampling.draws({name: of_side[name] for name in names}) for of_side in known)
    return {name: interval(b[name] - a[name]) for name in names}
