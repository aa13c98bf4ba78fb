"""Coverage, correlation and gain by hand, against SciPy, and in simulation."""

import numpy as np
import pytest
from scipy.stats import betabinom, spearmanr

from moral_jax.analysis import calibrate, metrics, second_order
from moral_jax.analysis.table import Table


def table(p, counts, s):
    p, counts = np.asarray(p, float), np.asarray(counts, float)
    return Table(np.ones_like(p, bool), counts, p, np.broadcast_to(np.asarray(s, float), len(p)).copy())


def simulated(rows, options, votes, seed=0, low=0.5, high=20.0):
    """Votes from known Dirichlets: shares, concentrations and numbers of votes differ from row to row."""
    rng = np.random.default_rng(seed)
    p, s = rng.dirichlet(np.ones(options), rows), np.exp(rng.uniform(np.log(low), np.log(high), rows))
    shares = np.array([rng.dirichlet(np.maximum(a, 1e-6)) for a in s[:, None] * p])
    return table(p, [rng.multinomial(rng.integers(1, votes), q) for q in shares], s)


def summed(t, calibration, resamples):
    return second_order.second_order(t, calibration, resamples, 0, [[]] * len(t.p_EC))


@pytest.mark.parametrize(("a", "b", "n"), [(1.0, 1.0, 5), (0.3, 2.5, 7), (60.0, 40.0, 300), (1e-3, 1e-3, 1)])
def test_vote_probabilities_against_scipy(a, b, n):
    got = second_order.vote_probabilities(np.array([a, b]), n)
    np.testing.assert_allclose(got[0], betabinom(n, a, b).pmf(np.arange(n + 1)), rtol=1e-9)
    np.testing.assert_allclose(got[1], got[0][::-1], rtol=1e-9)


def test_a_concentration_without_end_is_a_binomial():
    got = second_order.vote_probabilities(1e13 * np.array([0.5, 0.5]), 2)[0]
    np.testing.assert_allclose(got, [0.25, 0.5, 0.25], rtol=1e-9)


def test_coverage_by_hand():
    """Beta(1, 1) with five votes: every count has 1/6, and F runs 1/6, 2/6, ... 1."""
    alpha = np.array([1.0, 1.0])
    by_count = [second_order.covered(alpha, np.array([c, 5 - c]))[0, 0] for c in range(6)]
    # the middle half is [1/4, 3/4]: of [1/6, 2/6] it holds the upper half
    np.testing.assert_allclose(by_count, [0, 0.5, 1, 1, 0.5, 0], atol=1e-12)
    # the middle 80 % is [0.1, 0.9]: of [0, 1/6] it holds (1/6 - 1/10) / (1/6)
    np.testing.assert_allclose(second_order.covered(alpha, np.array([0, 5]))[:, 1], 0.4, atol=1e-12)
    assert np.mean(by_count) == pytest.approx(0.5)


@pytest.mark.parametrize("alpha", [(0.2, 1.1), (4.0, 9.0), (0.5, 0.2, 3.0)])
@pytest.mark.parametrize("votes", [1, 5, 12])
def test_a_right_model_has_exactly_the_level(alpha, votes):
    """In expectation over its own forecast, to rounding; for every option."""
    alpha = np.array(alpha)
    f = second_order.vote_probabilities(alpha, votes)
    for k in range(len(alpha)):
        counts = np.zeros((votes + 1, len(alpha)))
        counts[:, k] = np.arange(votes + 1)
        counts[:, k - 1] = votes - np.arange(votes + 1)
        held = np.array([second_order.covered(alpha, c)[k] for c in counts])
        np.testing.assert_allclose(f[k] @ held, second_order.LEVELS, atol=1e-12)


def test_an_impossible_count_is_not_covered():
    np.testing.assert_array_equal(second_order.covered(np.array([0.0, 2.0]), np.array([5, 0])), 0)


@pytest.mark.parametrize("options", [2, 4])
def test_simulated_right_over_and_underconfident(options):
    t = simulated(3000, options, 30)

    def held(factor):
        numbers = summed(calibrate.concentrate(t, factor), None, 200)
        return [numbers["coverage"][level] for level in ("0.5", "0.8", "0.95")]

    for e, level in zip(held(1.0), second_order.LEVELS, strict=True):
        assert e["value"] == pytest.approx(level, abs=0.03)  # the standard error is 0.007 or less
    for e, level in zip(held(20.0), second_order.LEVELS, strict=True):
        assert e["high"] < level - 0.05
    for e, level in zip(held(0.05), second_order.LEVELS, strict=True):
        assert e["low"] > level + 0.02


def test_split_by_hand():
    t = table([[0.5, 0.5], [0.8, 0.2]], [[5, 0], [3, 2]], 2.0)
    np.testing.assert_allclose(second_order.observed_split(t), [0, 2 * (1 - 0.36 - 0.16)])
    # Beta(1, 1): P(c) = 1/6, so E[1 - sum q^2] = 1 - 2 * (0 + 1 + 4 + 9 + 16 + 25) / 25 / 6
    assert second_order.expected_split(t)[0] == pytest.approx(2 * (1 - 2 * 55 / 25 / 6))


def test_the_expected_split_is_the_mean_of_the_observed():
    p, s = np.array([0.6, 0.3, 0.1]), 3.0
    rng = np.random.default_rng(0)
    counts = np.array([rng.multinomial(7, q) for q in rng.dirichlet(s * p, 40_000)])
    t = table(np.tile(p, (40_000, 1)), counts, s)
    assert second_order.observed_split(t).mean() == pytest.approx(second_order.expected_split(t)[0], abs=0.005)


def test_spearman_against_scipy_with_ties_and_repetitions():
    rng = np.random.default_rng(0)
    x, y, times = rng.integers(0, 5, 60).astype(float), rng.normal(size=60), rng.integers(0, 4, 60)
    y += x
    got = second_order.spearman(x, y, np.stack([np.ones(60), times]))
    assert got[0] == pytest.approx(spearmanr(x, y).statistic)
    assert got[1] == pytest.approx(spearmanr(np.repeat(x, times), np.repeat(y, times)).statistic)
    assert second_order.spearman(np.ones(60), y, np.ones((1, 60)))[0] == 0


def test_gain_by_hand_and_its_sign():
    t = simulated(2000, 2, 20)
    calibration = calibrate.fit(t)
    numbers = summed(t, calibration, 200)
    one = metrics.dirichlet_nll(t.replace(concentration_E=np.full(2000, calibration.fixed_concentration)))
    assert numbers["dirichlet_gain"]["value"] == pytest.approx((one - metrics.dirichlet_nll(t)).mean())
    assert numbers["dirichlet_gain"]["low"] > 0  # it knows which questions divide
    shuffled = t.replace(concentration_E=np.random.default_rng(1).permutation(t.concentration_E))
    assert summed(shuffled, calibration, 200)["dirichlet_gain"]["high"] < 0
    assert numbers["split_correlation"]["low"] > 0.3


def test_the_fixed_concentration_is_found():
    t = simulated(4000, 2, 12, low=5.0, high=5.0)
    assert calibrate.fixed_concentration(t.replace(concentration_E=np.ones(4000))) == pytest.approx(5.0, rel=0.15)


def test_what_cannot_be_said_is_left_out():
    t = simulated(50, 3, 9, low=2.0, high=2.0)
    numbers = summed(t, None, 100)
    assert set(numbers) == {"rows", "of", "coverage", "split_correlation", "split_ceiling"}  # one s, nothing fitted
    some = t.replace(counts_EC=t.counts_EC + np.eye(50)[:, :1] * 0.5)
    assert (summed(some, None, 100)["rows"], summed(some, None, 100)["of"]) == (49, 50)
    assert summed(t.replace(counts_EC=t.counts_EC / 7.3), None, 100) is None


@pytest.mark.parametrize(("total", "digits"), [(25, 16), (100, 16), (6, 2)])
@pytest.mark.fault("votes that are whole but for rounding", promise="they are whole votes")
def test_votes_that_are_whole_but_for_rounding_are_whole(total, digits):
    """Shares of a file become votes by a product and a quotient, and 0.83 of six people are five."""
    counts = np.array([[k, total - k] for k in range(total + 1)], float)
    shares = np.round(counts / total, digits)
    t = table(np.full(counts.shape, 0.5), shares * total / shares.sum(-1, keepdims=True), 2.0)
    assert len(second_order.whole_votes(t)) == total + 1
    assert summed(t, None, 100)["coverage"] == summed(t.replace(counts_EC=counts), None, 100)["coverage"]


def test_shares_of_people_are_not_whole_votes():
    t = table(np.full((3, 2), 0.5), [[2.5, 2.5], [1.1, 3.9], [2.0, 3.0]], 2.0)
    assert second_order.whole_votes(t).tolist() == [2]


@pytest.mark.parametrize("alpha", [(2.0, 3.0), (0.3, 0.5), (40.0, 9000.0)])
def test_very_many_votes_are_covered_as_by_the_exact_forecast(alpha, monkeypatch):
    alpha, votes = np.array(alpha), 2000
    counts = [np.array([c, votes - c]) for c in range(0, votes + 1, 37)]
    exact = [second_order.covered(alpha, c) for c in counts]
    monkeypatch.setattr(second_order, "MANY", 100)
    np.testing.assert_allclose([second_order.covered(alpha, c) for c in counts], exact, atol=0.25)
    assert np.mean([second_order.covered(alpha, c) for c in counts]) == pytest.approx(np.mean(exact), abs=0.005)


@pytest.mark.fault("rows with billions of votes", promise="coverage is computed in the memory of any other row")
def test_billions_of_votes_need_no_array_of_them():
    t = table([[0.5, 0.5]] * 6, [[5e9, 5e9], [9e9, 1e9], [1e10, 0], [2e9, 8e9], [5e9, 5e9], [6e9, 4e9]], 2.0)
    coverage = second_order.coverage(t)
    np.testing.assert_array_equal(coverage[:, 0], [1, 0, 0, 0, 1, 1])  # uniform forecast: the middle half
    np.testing.assert_array_equal(coverage[:, 2], [1, 1, 0, 1, 1, 1])


def test_one_concentration_for_all_gains_nothing_however_large():
    """Shares right on average, s = 2000 everywhere, 10,000 votes a question: beyond e^6 there is a minimum too."""
    t = simulated(200, 2, 3, low=2000.0, high=2000.0)
    rng = np.random.default_rng(1)
    counts = np.array([rng.multinomial(10_000, rng.dirichlet(2000 * p)) for p in t.p_EC])
    t = t.replace(counts_EC=counts.astype(float))
    calibration = calibrate.fit(t)
    assert calibration.fixed_concentration == pytest.approx(2000, rel=0.2)
    gain = summed(t, calibration, 200)["dirichlet_gain"]
    assert gain["low"] <= 0 <= gain["high"]
    assert abs(gain["value"]) < 0.02
    assert calibrate.at_bound(calibration) == []


@pytest.mark.fault(
    "a calibration whose fit ends at the end of what is searched", promise="the numbers name it, and the page says so"
)
def test_a_fit_that_ends_at_its_bound_says_so():
    """Votes are the prediction's reverse: no temperature helps, and the best is the highest."""
    t = table([[0.9, 0.1]] * 20, [[1, 4]] * 20, 2.0)
    calibration = calibrate.fit(t)
    assert "temperature" in calibrate.at_bound(calibration)
    assert calibration.temperature == pytest.approx(np.exp(calibrate.LOG_BOUND), rel=1e-3)
