"""Intervals and p-values over seeds and rows: by hand, and in worlds whose truth is known."""

import functools

import numpy as np
import pytest
from scipy.stats import t as student

from moral_jax.analysis import bootstrap, pooled
from moral_jax.analysis.bootstrap import Draws
from moral_jax.analysis.families import p_values

weights = functools.cache(bootstrap.resamples)


def pool(values_SE, seed=0, resamples=1000, others=(), shared=None):
    """What a study does with the row values of some seeds; the same row weights for every caller."""
    w_RE = weights(values_SE.shape[1], resamples, 0)
    spread = pooled.spread([x.mean(-1) for x in (values_SE, *others)])
    draws = [Draws(float(x.mean()), w_RE @ x / len(x), x - x.mean(), shared) for x in values_SE]
    return pooled.over_seeds(draws, spread, 10**6 + seed)


def p_value(difference):
    [(alone, _)] = p_values([difference])
    return alone.p


def test_one_seed_is_the_bootstrap_over_rows():
    values = np.random.default_rng(0).exponential(size=(1, 80))
    got = bootstrap.interval(pool(values))
    low, high = np.percentile(bootstrap.resamples(80, 1000, 0) @ values[0] / 80, [2.5, 97.5])
    assert got == pytest.approx({"value": values.mean(), "low": low, "high": high})


def test_where_all_rows_are_alike_it_is_the_t_interval_of_the_seeds():
    seeds = np.array([0.60, 0.63, 0.66])
    got = bootstrap.interval(pool(np.tile(seeds[:, None], 50), resamples=40_000))
    half = student.ppf(0.975, 2) * seeds.std(ddof=1) / np.sqrt(3)
    assert got["value"] == pytest.approx(0.63)
    assert (got["low"], got["high"]) == pytest.approx((0.63 - half, 0.63 + half), rel=0.01)


def test_rows_that_share_an_action_widen_the_mean_over_seeds_but_not_what_seeds_add():
    """Blocks of two equal rows: the ratio is the root of two, taken on the mean over seeds, and t stays as it is."""
    rows = np.repeat(np.random.default_rng(0).normal(size=40), 2)
    values = rows + np.array([[-0.1], [0.0], [0.1]]) + np.tile([0.5, -0.5], 40) * np.array([[1], [-2], [1]])
    shared = bootstrap.sharing([(f"action {i // 2}",) for i in range(80)])
    bare, got = pool(values), pool(values, shared=shared)
    assert got.ratio == pytest.approx(np.sqrt(2))
    np.testing.assert_allclose(got.seeds_R, bare.seeds_R)
    np.testing.assert_allclose(got.drawn_R - got.seeds_R - got.value, np.sqrt(2) * (bare.rows_R - bare.value))


@pytest.mark.parametrize(("of_seeds", "of_rows"), [(0.0, 1.0), (0.03, 1.0), (0.3, 0.3)])
def test_intervals_cover_the_mean_over_all_seeds_and_rows(of_seeds, of_rows):
    """Three seeds on 100 rows, 400 times: about 95 % of the intervals hold the truth, whoever varies more."""
    held = 0
    for world in range(400):
        rng = np.random.default_rng(world)
        values = rng.normal(0, of_seeds, (3, 1)) + rng.normal(0, of_rows, 100) + rng.normal(0, 0.1, (3, 100))
        got = bootstrap.interval(pool(values, seed=world))
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
        seeds = [rng.normal(0, sd, (3, 1)) + np.zeros((3, 5)) for sd in (mine, 1, 1, 1, 1, 1)]
        got = bootstrap.interval(pool(seeds[0], world, others=seeds[1:]))
        held += got["low"] <= 0 <= got["high"]
    assert held / 400 >= least
    assert mine != 1 or held / 400 <= 0.99


def test_a_difference_is_paired_by_row():
    """Rows differ much more than the models: unpaired, nothing would be seen."""
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 5, 100)
    a, b = rows + rng.normal(-0.3, 0.1, (3, 100)), rows + rng.normal(0, 0.1, (3, 100))
    difference = pool(a, seed=1) - pool(b, seed=2)
    got = bootstrap.interval(difference)
    assert got["value"] == pytest.approx((a - b).mean())
    assert got["high"] < -0.2
    assert p_value(difference) < 0.05


def test_without_a_difference_p_is_uniform():
    p = []
    for world in range(300):
        rng = np.random.default_rng(world)
        rows = rng.normal(size=60)
        a, b = (rows + rng.normal(0, 0.1, (3, 1)) + rng.normal(0, 0.3, (3, 60)) for _ in range(2))
        p.append(p_value(pool(a, 2 * world, 400, [b]) - pool(b, 2 * world + 1, 400, [a])))
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.09
    assert 0.3 <= np.mean(np.array(p) < 0.5) <= 0.65
