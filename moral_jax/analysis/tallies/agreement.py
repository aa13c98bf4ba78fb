"""How near answers come to people's votes: the plurality, the distance of shares, their calibration."""

from collections.abc import Iterator

import numpy as np

from moral_jax.analysis.metrics import BINS, bin_of
from moral_jax.analysis.tallies.base import Answered, Measure, Statistic, is_choice, js_divergence, people_shares
from moral_jax.runs.records import Record

TABLE, ALL = "Agreement with people", "all"
ACCURACY, DISTANCE, CALIBRATION = "accuracy", "total variation", "calibration error"
EQUAL = f"Equal shares always have a {CALIBRATION} of 0: read it beside the distance, as who says little is calibrated."


def _hits(record: Record) -> float | None:
    """Returns whether the plurality of the votes is chosen, in parts where options tie; None where the votes tie."""
    most = [i for i, n in enumerate(record["counts"]) if n >= max(record["counts"]) - 1e-9]
    return is_choice(record["probabilities"], most[0]) if len(most) == 1 else None


def calibration(a: Answered) -> Statistic:
    """Returns the distance of predicted and human share, averaged over bins of the predicted share, 0 to 1.

    As `analysis.share_calibration.error`, on resampled rows.
    """
    off_EB, pairs_E = np.zeros((len(a.units), BINS)), np.zeros(len(a.units))
    for unit, record in zip(a.unit_N, a.records, strict=True):
        p_C = np.array(record["probabilities"])
        np.add.at(off_EB[unit], bin_of(p_C), p_C - people_shares(record))
        pairs_E[unit] += len(p_C)

    def of(w_RE: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.abs(w_RE @ off_EB).sum(-1) / (w_RE @ pairs_E)

    return Statistic(of, int(np.count_nonzero(pairs_E)))


def measures(a: Answered) -> Iterator[Measure]:
    """Yields four numbers under each condition, and over all of them if there are several."""
    a = a.where([r["counts"] is not None for r in a.records])
    named = list(a.by_condition())
    for name, own in [*([(ALL, a)] if len(named) > 1 else []), *named]:
        tv = own.mean(float(np.abs(np.array(r["probabilities"]) - people_shares(r)).sum() / 2) for r in own.records)
        js = own.mean(js_divergence(r["probabilities"], r["counts"]) for r in own.records)
        yield Measure(TABLE, name, ACCURACY, own.mean(map(_hits, own.records)), "higher")
        yield Measure(TABLE, name, DISTANCE, tv, "lower")
        yield Measure(TABLE, name, "Jensen-Shannon divergence", js, "lower")
        yield Measure(TABLE, name, CALIBRATION, calibration(own))  # equal shares are the best, so none is better


def findings(a: Answered) -> list[str]:
    """Says how calibration is read."""
    return [EQUAL]
