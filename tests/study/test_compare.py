"""Which entries are compared, and in which direction."""

import numpy as np
import pytest

from moral_jax import objectives
from moral_jax.analysis import yardsticks
from moral_jax.analysis.bootstrap import Draws
from moral_jax.study import compare, spec
from moral_jax.study.pooled_rows import Entry, Pool
from moral_jax.study.spec import CE, DIRICHLET, ZERO_SHOT

METRICS = ("cross_entropy", "dirichlet_nll")
# each training is best by its own loss; what is made of numbers alone can be told from its value
VALUES = {ZERO_SHOT: (0.9, 3.0), CE: (0.5, 2.5), DIRICHLET: (0.6, 2.0)}


def at(value):
    return Draws(value, np.full(50, value), np.zeros(7))


def entry(row, training, better=0.0):
    numbers = {m: value - better for m, value in zip(METRICS, VALUES[training], strict=True)}
    return Entry(row, training, 1.0, [], [], {m: at(v) for m, v in numbers.items()}, {})


ENTRIES = [entry(row, training, better) for row, better in (("A", 0.0), ("B", 0.1)) for training in VALUES]
POOL = Pool(ENTRIES, {yardsticks.CONSTANT: {m: at(4.0) for m in METRICS}}, None)


def test_a_metric_is_the_loss_of_the_training_that_stands_for_it():
    """As the table of objectives says it of the objective that the study's cells train with."""
    for training, flags in spec.OBJECTIVE_FLAGS.items():
        name = flags[0].removeprefix("--config.objective.name=")
        objective = objectives.get(name)
        assert (objective.label, compare.TRAINED_FOR[objective.judged_by]) == (training, training)


@pytest.mark.parametrize(("metric", "own", "other"), [(*METRICS[:1], CE, DIRICHLET), (*METRICS[1:], DIRICHLET, CE)])
def test_the_objective_is_compared_as_own_minus_other(metric, own, other):
    found = [c for c in compare.comparisons(POOL) if (c["metric"], c["what"]) == (metric, "objective")]
    assert [(c["a"]["row"], c["a"]["training"], c["b"]["training"]) for c in found] == [
        (row, own, other) for row in "AB"
    ]
    place = METRICS.index(metric)
    assert all(c["value"] == pytest.approx(VALUES[own][place] - VALUES[other][place]) for c in found)
    assert all(c["value"] < 0 for c in found)


@pytest.mark.parametrize(("metric", "own"), [("cross_entropy", CE), ("dirichlet_nll", DIRICHLET)])
def test_models_are_compared_as_trained_for_the_metric_the_closer_one_first(metric, own):
    [models] = [c for c in compare.comparisons(POOL) if (c["metric"], c["what"]) == (metric, "models")]
    assert (models["a"]["row"], models["b"]["row"]) == ("B", "A")
    assert models["a"]["training"] == models["b"]["training"] == own
    assert models["value"] == pytest.approx(-0.1)


def test_a_model_without_its_own_training_is_stood_for_by_another_and_last_as_it_comes():
    zero, ce, dirichlet = (entry("A", training) for training in (ZERO_SHOT, CE, DIRICHLET))
    assert compare.representative([zero, dirichlet, ce], "cross_entropy") is ce
    assert compare.representative([zero, dirichlet], "cross_entropy") is dirichlet
    assert compare.representative([zero], "cross_entropy") is zero
