"""Intervals and p-values over seeds and rows: by hand, and in worlds whose truth is known."""

import functools

import numpy as np
import pytest
from scipy.stats import t as student

from moral_jax.analysis import ceiling, metrics, pooled
from moral_jax.analysis.table import Table

weights = functools.cache(metrics.resamples)


def pool(values_SE, seed=0, resamples=1000, others=()):
    """What a study does with the row values of some seeds; the same row weights for every caller."""
    w_RE = weights(values_SE.shape[1], resamples, 0)
    spread = pooled.spread([x.mean(-1) for x in (values_SE, *others)])
    resampled_SR = values_SE @ w_RE.T / values_SE.shape[1]
    return pooled.over_seeds(values_SE.mean(-1), resampled_SR, spread, 10**6 + seed)


def test_one_seed_is_the_bootstrap_over_rows():
    values = np.random.default_rng(0).exponential(size=(1, 80))
    got = pooled.interval(pool(values))
    assert got == pytest.approx(metrics.mean_estimate(values[0], metrics.resamples(80, 1000, 0)))


def test_where_all_rows_are_alike_it_is_the_t_interval_of_the_seeds():
    seeds = np.array([0.60, 0.63, 0.66])
    got = pooled.interval(pool(np.tile(seeds[:, None], 50), resamples=40_000))
    half = student.ppf(0.975, 2) * seeds.std(ddof=1) / np.sqrt(3)
    assert got["value"] == pytest.approx(0.63)
    assert (got["low"], got["high"]) == pytest.approx((0.63 - half, 0.63 + half), rel=0.01)


@pytest.mark.parametrize(("of_seeds", "of_rows"), [(0.0, 1.0), (0.03, 1.0), (0.3, 0.3)])
def test_intervals_cover_the_mean_over_all_seeds_and_rows(of_seeds, of_rows):
    """Three seeds on 100 rows, 400 times: about 95 % of the intervals hold the truth, whoever varies more."""
    held = 0
    for world in range(400):
        rng = np.random.default_rng(world)
        values = rng.normal(0, of_seeds, (3, 1)) + rng.normal(0, of_rows, 100) + rng.normal(0, 0.1, (3, 100))
        got = pooled.interval(pool(values, seed=world))
        held += got["low"] <= 0 <= got["high"]
    assert 0.92 <= held / 400 <= 0.99


def test_the_spread_is_pooled_by_hand():
    """Squares 2 + 8 over 1 + 2 degrees of freedom; one seed has nothing to say."""
    got = pooled.spread([np.array([0.0, 2.0]), np.array([1.0, 3.0, 5.0]), np.array([7.0])])
    assert got == (pytest.approx(np.sqrt(10 / 3)), 3)
    assert pooled.spread([np.array([7.0])]) == (0.0, 0)


@pytest.mark.parametrize(("mine", "least"), [(1.0, 0.93), (0.1, 0.99), (3.0, 0.81)])
def test_a_pooled_spread_covers_means_with_more_and_with_less_of_their_own(mine, least):
    """Among five others of spread 1. A mean with three times their spread is covered in 86 % of all worlds (by
    integration over its own standard deviation): this is what pooling costs. 400 worlds know that to 0.017."""
    held = 0
    for world in range(400):
        rng = np.random.default_rng(world)
        seeds = [rng.normal(0, sd, (3, 1)) + np.zeros((3, 2)) for sd in (mine, 1, 1, 1, 1, 1)]
        got = pooled.interval(pool(seeds[0], world, others=seeds[1:]))
        held += got["low"] <= 0 <= got["high"]
    assert held / 400 >= least
    assert mine != 1 or held / 400 <= 0.99


def test_a_difference_is_paired_by_row():
    """Rows differ much more than the models: unpaired, nothing would be seen."""
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 5, 100)
    a, b = rows + rng.normal(-0.3, 0.1, (3, 100)), rows + rng.normal(0, 0.1, (3, 100))
    difference = pool(a, seed=1) - pool(b, seed=2)
    got = pooled.interval(difference)
    assert got["value"] == pytest.approx((a - b).mean())
    assert got["high"] < -0.2
    assert pooled.p_value(difference) < 0.05


def test_without_a_difference_p_is_uniform():
    p = []
    for world in range(300):
        rng = np.random.default_rng(world)
        rows = rng.normal(size=60)
        a, b = (rows + rng.normal(0, 0.1, (3, 1)) + rng.normal(0, 0.3, (3, 60)) for _ in range(2))
        p.append(pooled.p_value(pool(a, 2 * world, 400, [b]) - pool(b, 2 * world + 1, 400, [a])))
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.09
    assert 0.3 <= np.mean(np.array(p) < 0.5) <= 0.65


def test_p_by_hand():
    """Of nine draws one lies beyond zero: 2 * (1 + 1) / (9 + 1)."""
    draws = pooled.Draws(-0.5, np.array([-0.9, -0.8, -0.7, -0.6, -0.5, -0.4, -0.3, -0.2, 0.1]))
    assert pooled.p_value(draws) == pytest.approx(0.4)
    assert pooled.p_value(pooled.Draws(0.5, -draws.drawn_R)) == pytest.approx(0.4)
    assert pooled.p_value(pooled.Draws(0.0, np.zeros(9))) == 1.0


def test_holm_by_hand():
    """0.01 * 4, 0.02 * 3, then 0.03 * 2 and 0.5 * 1, never below the one before; in the order given."""
    assert pooled.holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert pooled.holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])
    assert pooled.holm([0.9, 0.9]) == [1.0, 1.0]
    assert pooled.holm([]) == []


def test_a_second_panel_as_a_prediction():
    """Posterior of Beta-binomial rows: (alpha + votes) / (their sum); it never sees the votes that it is scored on."""
    second = np.array([[5, 0], [0, 5], [3, 2], [2, 3]], float)
    t = Table(np.ones((4, 2), bool), np.ones((4, 2)), np.full((4, 2), 0.5), np.ones(4))
    alpha = ceiling.fit_dirichlet(second)
    got = ceiling.second_panel(t, second)
    np.testing.assert_allclose(got.p_EC[0], (alpha + [5, 0]) / (alpha.sum() + 5))
    np.testing.assert_allclose(got.concentration_E, alpha.sum() + 5)
    other = ceiling.second_panel(t.replace(counts_EC=7 * t.counts_EC), second)
    np.testing.assert_array_equal(other.p_EC, got.p_EC)
