"""Tests the differences between the entries of a task: paired by row, corrected within families.

The list of comparisons is fixed before any number is scored. Comparisons that answer one question are a family, and p
holds for all of it at once (`analysis.families`).
"""

import itertools
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import bootstrap, families, yardsticks
from moral_jax.analysis.bootstrap import Draws
from moral_jax.runs.quantities import YARDSTICKS
from moral_jax.study.pooled_rows import Entry, Pool
from moral_jax.study.spec import CE, DIRICHLET, ZERO_SHOT

TRAINED_FOR = {"cross_entropy": CE, "dirichlet_nll": DIRICHLET}  # the training that a metric is the loss of
Key = dict[str, Any]


class Side(NamedTuple):
    """One side of a comparison: an entry, or a yardstick."""

    key: Key
    draws: Draws
    one_seed: bool


def _side(e: Entry, metric: str) -> Side:
    return Side(e.key, e.draws[metric], e.one_seed)


def _yardstick(pool: Pool, name: str, metric: str) -> Side:
    return Side({"row": YARDSTICKS[name], "training": "", "share": 1.0}, pool.yardsticks[name][metric], False)


def representative(of_row: list[Entry], metric: str) -> Entry:
    """Returns the entry that stands for a model: trained for the metric, else otherwise trained, else untrained."""
    order = {TRAINED_FOR[metric]: 0, ZERO_SHOT: 2}
    return min(of_row, key=lambda e: order.get(e.training, 1))


def _by_row(pool: Pool, metric: str) -> dict[str, list[Entry]]:
    """Returns the entries trained on all rows, by model."""
    whole: dict[str, list[Entry]] = {}
    for e in pool.entries:
        if metric in e.draws and e.share == 1:
            whole.setdefault(e.row, []).append(e)
    return whole


def _is_same(a: Draws, b: Draws) -> bool:
    """Returns true if two models have the same number on every row: a rule and its mirror image, say."""
    return a.value == b.value and np.allclose(a.influence_E, b.influence_E, rtol=0, atol=1e-12)


def models(pool: Pool, metric: str) -> tuple[list[Entry], list[tuple[Entry, Entry]]]:
    """Returns one entry for each model, the lowest first, and pairs (left out, kept) of models with equal numbers."""
    kept: list[Entry] = []
    left_out = []
    for e in (representative(of_row, metric) for of_row in _by_row(pool, metric).values()):
        same = next((other for other in kept if _is_same(e.draws[metric], other.draws[metric])), None)
        if same is None:
            kept.append(e)
        else:
            left_out.append((e, same))
    return sorted(kept, key=lambda e: e.draws[metric].value), left_out


def _pairs(pool: Pool, metric: str) -> dict[str, list[tuple[Side, Side]]]:
    """Returns families of (one, other): effect of tuning, of the objective, of the model, of more data; and every entry
    against the best constant answer, every model against other people."""
    out: dict[str, list[tuple[Side, Side]]] = {}

    def add(what: str, a: Side, b: Side) -> None:
        out.setdefault(what, []).append((a, b))

    for of_row in _by_row(pool, metric).values():
        by_training = {e.training: _side(e, metric) for e in of_row}
        if ZERO_SHOT in by_training:
            for e in of_row:
                if e.training not in (ZERO_SHOT, ""):
                    add("tuning", _side(e, metric), by_training[ZERO_SHOT])
        if {CE, DIRICHLET} <= set(by_training):
            own = TRAINED_FOR[metric]
            add("objective", by_training[own], by_training[DIRICHLET if own == CE else CE])
        for e in of_row:
            add("constant", _side(e, metric), _yardstick(pool, yardsticks.CONSTANT, metric))
    sides = [_side(e, metric) for e in models(pool, metric)[0]]
    for a, b in itertools.combinations(sides, 2):
        add("models", a, b)
    if metric in pool.yardsticks.get(yardsticks.PANEL, {}):
        for a in sides:
            add("people", a, _yardstick(pool, yardsticks.PANEL, metric))
    curves: dict[tuple[str, str], list[Entry]] = {}
    for e in pool.entries:
        if metric in e.draws:
            curves.setdefault((e.row, e.training), []).append(e)
    for curve in curves.values():
        for less, more in itertools.pairwise(sorted(curve, key=lambda e: e.share)):
            add("data", _side(more, metric), _side(less, metric))
    return out


def comparisons(pool: Pool) -> list[dict[str, Any]]:
    """Returns differences, one minus the other, with intervals and p-values, alone and within their family."""
    out = []
    for metric in TRAINED_FOR:
        for what, pairs in _pairs(pool, metric).items():
            differences = [a.draws - b.draws for a, b in pairs]
            tested = zip(pairs, differences, families.p_values(differences), strict=True)
            for (a, b), d, (alone, among) in tested:
                out.append(
                    {"metric": metric, "what": what, "a": a.key, "b": b.key}
                    | {"a_value": a.draws.value, "b_value": b.draws.value, "family": len(pairs)}
                    | bootstrap.interval(d)
                    | {"p": alone.p, "p_is_bound": alone.is_bound, "p_family": among.p}
                    | {"p_family_is_bound": among.is_bound, "one_seed": [s.key for s in (a, b) if s.one_seed]}
                )
    return out


def lowest(pool: Pool) -> dict[str, Key]:
    """Returns by metric the key of the lowest entry that stands for a model: "the lowest" of every sentence."""
    best = {metric: models(pool, metric)[0] for metric in TRAINED_FOR}
    return {metric: kept[0].key for metric, kept in best.items() if kept}


def same(pool: Pool) -> list[tuple[Key, Key]]:
    """Returns pairs of models (left out, kept) that give the same numbers on every row."""
    return [(a.key, b.key) for a, b in models(pool, "cross_entropy")[1]]
