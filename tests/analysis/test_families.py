"""Tests p-values of families: the level holds for all of a family at once, and no p claims more than the draws show."""

import numpy as np
import pytest

from moral_jax.analysis.bootstrap import Draws, resamples
from moral_jax.analysis.families import PValue, p_values


def draws(value, drawn):
    return Draws(value, np.array(drawn, float), np.ones(9))


def test_p_by_hand():
    """Nine draws of deviation s around -0.5: one is further off than the value is from 0."""
    off = np.array([0.1, -0.1, 0.2, -0.2, 0.3, -0.3, 0.1, -0.1, 0.6])
    [(alone, among)] = p_values([draws(-0.5, -0.5 + off)])
    assert alone == among == PValue(2 / 10, False)
    [(alone, _)] = p_values([draws(0.5, 0.5 - off)])
    assert alone.p == 2 / 10


def test_a_p_that_no_draw_reaches_is_a_bound():
    [(alone, among)] = p_values([draws(9.0, 9 + np.linspace(-1, 1, 999))])
    assert alone == among == PValue(1 / 1000, True)


def test_models_that_say_the_same_are_not_told_apart():
    assert p_values([draws(0.0, np.zeros(99))]) == [(PValue(1.0, False), PValue(1.0, False))]
    assert p_values([]) == []


def test_the_largest_of_the_family_is_what_counts():
    """The first has draws of its own; the second, tested beside it, is judged by both."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 4000))
    a, b = draws(2.2, 2.2 + first), draws(2.2, 2.2 + second)
    [(alone, among), _] = p_values([a, b])
    assert alone.p == pytest.approx(0.028, abs=0.006)
    assert among.p == pytest.approx(1 - (1 - 0.028) ** 2, abs=0.01)
    [(_, copied), _] = p_values([a, a])
    assert copied.p == pytest.approx(alone.p)  # a copy costs nothing, where Holm's correction would double p


def test_false_alarms_stay_at_the_level_for_all_pairs_of_six_models():
    """200 worlds of six models that are equally good; any claim of any pair is one false alarm."""
    alarms, w = 0, resamples(80, 400, 0)
    for world in range(200):
        rng = np.random.default_rng(world)
        rows = rng.normal(size=80) + rng.normal(0, 0.5, (6, 80))
        models = [Draws(float(x.mean()), w @ x / 80, x - x.mean()) for x in rows]
        family = [models[i] - models[j] for i in range(6) for j in range(i)]
        alarms += min(among.p for _, among in p_values(family)) < 0.05
    assert 0.01 <= alarms / 200 <= 0.09
