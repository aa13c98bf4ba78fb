"""Tests intervals: their coverage where rows share actions and where they do not, and the ratio by hand."""

import numpy as np
import pytest

from moral_jax.analysis import bootstrap
from moral_jax.analysis.bootstrap import Draws, Resampling, interval, sharing


def matrix(keys):
    """S by definition: 1 where rows share a key, and on the diagonal."""
    shared = [[float(i == j or bool(set(a) & set(b))) for j, b in enumerate(keys)] for i, a in enumerate(keys)]
    return np.array(shared)


KEYS = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "b"), (), ("d",), ("d", "d"), ("e", "f", "a")]


def test_the_quadratic_form_is_that_of_the_matrix():
    """Rows that share two keys count once, rows without keys share nothing."""
    u = np.random.default_rng(0).normal(size=(5, len(KEYS)))
    for x in u:
        assert sharing(KEYS).quadratic(x) == pytest.approx(x @ matrix(KEYS) @ x)
    assert sharing([("a",), ("b",), ()]) is None
    assert sharing([(), ()]) is None


def test_the_ratio_by_hand():
    """Rows 1 and 2 share a key: u = (1, 2, -3), u' S u = 14 + 2 * 1 * 2, and a negative covariance is none."""
    shared = sharing([("a",), ("a",), ("b",)])
    draws = Draws(0.0, np.zeros(9), np.array([1.0, 2.0, -3.0]), shared)
    assert draws.ratio == pytest.approx(np.sqrt(18 / 14))
    assert draws._replace(influence_E=np.array([1.0, -2.0, 1.0])).ratio == 1
    assert draws._replace(shared=None).ratio == 1
    assert draws._replace(influence_E=np.zeros(3)).ratio == 1


def test_draws_are_stretched_around_the_value_and_seeds_are_not():
    shared = sharing([("a",)] * 2 + [("b",)] * 2 + [("c",)] * 2)
    u = np.array([1.0, 1.0, -1.0, -1.0, 0.0, 0.0])  # r = sqrt(2)
    d = Draws(5.0, np.array([4.0, 6.0]), u, shared, np.array([0.5, 0.5]))
    np.testing.assert_allclose(d.drawn_R, [5.5 - np.sqrt(2), 5.5 + np.sqrt(2)])


def test_a_difference_has_a_ratio_of_its_own():
    """What two models have in common cancels before the ratio is taken."""
    shared = sharing([("a",), ("a",), ("b",), ("b",)])
    common, own = np.array([3.0, 3.0, -3.0, -3.0]), np.array([0.1, -0.1, 0.1, -0.1])
    a, b = (Draws(0.0, np.zeros(9), x, shared) for x in (common + own, common))
    assert a.ratio == pytest.approx(np.sqrt(2), rel=1e-2)
    assert (a - b).ratio == 1


def ring(rows):
    """Every row shares an action with the next, as in DILEMMAS."""
    return [(f"action {i}", f"action {(i + 1) % rows}") for i in range(rows)]


@pytest.mark.parametrize("rows", [60, 200, 468])
def test_intervals_cover_where_rows_share_actions(rows):
    """Rows are 0.17 correlated with both neighbours, as the losses of a good model on DILEMMAS. 2,000 worlds."""
    rng, worlds = np.random.default_rng(rows), 2000
    actions, own = rng.normal(size=(2, worlds, rows))
    values_WE = np.sqrt(0.17) * (actions + np.roll(actions, -1, axis=1)) + np.sqrt(1 - 0.34) * own
    drawn_WR = values_WE @ bootstrap.resamples(rows, 1000, 0).T / rows
    shared, held = sharing(ring(rows)), np.zeros(2)
    for value_E, drawn_R in zip(values_WE, drawn_WR, strict=True):
        d = Draws(float(value_E.mean()), drawn_R, value_E - value_E.mean(), shared)
        for i, known in enumerate((d, d._replace(shared=None))):
            e = interval(known)
            held[i] += e["low"] <= 0 <= e["high"]
    with_ratio, without = held / worlds
    assert 0.93 <= with_ratio <= 0.97
    assert without < 0.92


def test_intervals_cover_where_rows_share_nothing():
    """Of 400 samples with a known mean, about 95 % of the intervals hold it."""
    rng, held = np.random.default_rng(0), 0
    for seed in range(400):
        [d] = Resampling(120, 300, seed).draws({"x": rng.exponential(1.0, 120)}).values()
        held += interval(d)["low"] <= 1.0 <= interval(d)["high"]
    assert 0.92 <= held / 400 <= 0.97


def test_a_mean_and_a_statistic_of_the_same_rows_draw_alike():
    """The jackknife gives the mean's own influence, up to a factor: so the ratio is the same."""
    values = np.random.default_rng(0).exponential(size=30)
    resampling = Resampling(30, 2500, 7, sharing(ring(30)))
    found = resampling.draws({"mean": values, "statistic": lambda w_RE: w_RE @ values / w_RE.sum(-1)})
    assert found["mean"].value == pytest.approx(found["statistic"].value)
    np.testing.assert_allclose(found["mean"].rows_R, found["statistic"].rows_R)
    assert len(found["mean"].rows_R) == 2500
    assert len(np.unique(found["mean"].rows_R)) > 2400  # no chunk repeats another
    assert found["mean"].ratio == pytest.approx(found["statistic"].ratio)


def test_weights_draw_as_many_rows_as_there_are():
    w = bootstrap.resamples(40, 3000, 0)
    assert (w.sum(-1) == 40).all()
    np.testing.assert_allclose(w.mean(0), 1, atol=0.1)
    assert w.var() == pytest.approx(1 - 1 / 40, abs=0.02)


def test_few_rows_have_no_interval():
    few, enough = (Draws(0.5, np.linspace(0, 1, 99), np.zeros(rows)) for rows in (4, 5))
    assert interval(few) == {"value": 0.5}
    assert set(interval(enough)) == {"value", "low", "high"}


def test_an_interval_stays_where_the_truth_can_be():
    d = Draws(0.9, np.linspace(0.5, 1.3, 99), np.zeros(9))
    assert bootstrap.estimate("accuracy", d)["high"] == 1
    assert bootstrap.estimate("squared_distance", d)["high"] > 1.2
    mass = Draws(0.239, np.linspace(-0.3, 0.8, 99), np.zeros(9))
    assert bootstrap.estimate("option_mass", mass)["low"] == 0
