"""Tests the differences between the entries of a task: paired by row, corrected for the number of tests.

The list of comparisons is fixed before any number is scored.
"""

import itertools
from typing import Any

from moral_jax.analysis import pooled
from moral_jax.study.pooled_rows import Entry
from moral_jax.study.spec import CE, DIRICHLET, ZERO_SHOT

TRAINED_FOR = {"cross_entropy": CE, "dirichlet_nll": DIRICHLET}  # metric -> the training whose loss it is


def representative(of_row: list[Entry], metric: str) -> Entry:
    """Returns the entry that stands for a model: trained for the metric, else otherwise trained, else untrained."""
    order = {TRAINED_FOR[metric]: 0, ZERO_SHOT: 2}
    return min(of_row, key=lambda e: order.get(e.training, 1))


def _pairs(entries: list[Entry], metric: str) -> list[tuple[str, Entry, Entry]]:
    """Returns (question, one, other). Questions: effect of tuning, of the objective, of the model, of more data."""
    scored = [e for e in entries if metric in e.draws]
    by_row: dict[str, list[Entry]] = {}
    for e in scored:
        if e.share == 1:
            by_row.setdefault(e.row, []).append(e)
    out = []
    for of_row in by_row.values():
        by_training = {e.training: e for e in of_row}
        tuned = [e for e in of_row if e.training not in (ZERO_SHOT, "")]
        if ZERO_SHOT in by_training:
            out += [("tuning", e, by_training[ZERO_SHOT]) for e in tuned]
        if {CE, DIRICHLET} <= set(by_training):
            own = TRAINED_FOR[metric]
            other = DIRICHLET if own == CE else CE
            out.append(("objective", by_training[own], by_training[other]))
    models = sorted((representative(of_row, metric) for of_row in by_row.values()), key=lambda e: e.draws[metric].value)
    out += [("models", a, b) for a, b in itertools.combinations(models, 2)]
    curves: dict[tuple[str, str], list[Entry]] = {}
    for e in scored:
        curves.setdefault((e.row, e.training), []).append(e)
    for curve in curves.values():
        by_share = sorted(curve, key=lambda e: e.share)
        out += [("data", more, less) for less, more in itertools.pairwise(by_share)]
    return out


def comparisons(entries: list[Entry]) -> list[dict[str, Any]]:
    """Returns differences with intervals and p-values, and Holm's correction over all comparisons of a metric."""
    out = []
    for metric in TRAINED_FOR:
        tests: list[dict[str, Any]] = []
        for what, a, b in _pairs(entries, metric):
            difference = a.draws[metric] - b.draws[metric]
            tests.append(
                {"metric": metric, "what": what, "a": a.key, "b": b.key}
                | {"a_value": a.draws[metric].value, "b_value": b.draws[metric].value}
                | pooled.interval(difference)
                | {"p": pooled.p_value(difference), "one_seed": [e.key for e in (a, b) if e.one_seed]}
            )
        adjusted = pooled.holm([t["p"] for t in tests])
        out += [t | {"p_holm": p} for t, p in zip(tests, adjusted, strict=True)]
    return out
