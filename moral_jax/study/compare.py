"""Which differences between the entries of a task are real: paired by row, corrected for how many are tested.

What is compared is fixed before any number is seen.
"""

import itertools
from typing import Any

from moral_jax.analysis import pooled
from moral_jax.study.pooled_rows import Entry
from moral_jax.study.spec import CE, DIRICHLET, ZERO_SHOT

OWN = {"cross_entropy": CE, "dirichlet_nll": DIRICHLET}  # the training that a metric is the loss of


def chosen(of_row: list[Entry], metric: str) -> Entry:
    """The entry that stands for a model: trained for the metric, else otherwise, else as it comes."""
    order = {OWN[metric]: 0, ZERO_SHOT: 2}
    return min(of_row, key=lambda e: order.get(e.training, 1))


def _pairs(entries: list[Entry], metric: str) -> list[tuple[str, Entry, Entry]]:
    """(question, one, the other): what tuning did, what the objective did, which model is closer, what data did."""
    known = [e for e in entries if metric in e.draws]
    whole: dict[str, list[Entry]] = {}
    for e in known:
        if e.share == 1:
            whole.setdefault(e.row, []).append(e)
    out = []
    for of_row in whole.values():
        by_training = {e.training: e for e in of_row}
        tuned = [e for e in of_row if e.training not in (ZERO_SHOT, "")]
        if ZERO_SHOT in by_training:
            out += [("tuning", e, by_training[ZERO_SHOT]) for e in tuned]
        if {CE, DIRICHLET} <= set(by_training):
            out.append(("objective", by_training[OWN[metric]], by_training[({CE, DIRICHLET} - {OWN[metric]}).pop()]))
    models = sorted((chosen(of_row, metric) for of_row in whole.values()), key=lambda e: e.draws[metric].value)
    out += [("models", a, b) for a, b in itertools.combinations(models, 2)]
    curves: dict[tuple[str, str], list[Entry]] = {}
    for e in known:
        curves.setdefault((e.row, e.training), []).append(e)
    for curve in curves.values():
        by_share = sorted(curve, key=lambda e: e.share)
        out += [("data", more, less) for less, more in itertools.pairwise(by_share)]
    return out


def comparisons(entries: list[Entry]) -> list[dict[str, Any]]:
    """Differences, one minus the other, with intervals and p-values; Holm's correction over those of a metric."""
    out = []
    for metric in OWN:
        found: list[dict[str, Any]] = []
        for what, a, b in _pairs(entries, metric):
            difference = a.draws[metric] - b.draws[metric]
            found.append(
                {"metric": metric, "what": what, "a": a.key, "b": b.key}
                | {"a_value": a.draws[metric].value, "b_value": b.draws[metric].value}
                | pooled.interval(difference)
                | {"p": pooled.p_value(difference), "one_seed": [e.key for e in (a, b) if e.one_seed]}
            )
        adjusted = pooled.holm([f["p"] for f in found])
        out += [f | {"p_holm": p} for f, p in zip(found, adjusted, strict=True)]
    return out
