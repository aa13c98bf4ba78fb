"""Tests the calibration of shares by hand, and that honesty about disagreement is no error."""

import numpy as np
import pytest

from moral_jax.analysis import share_calibration
from moral_jax.analysis.table import Table


def table(p, counts):
    p, counts = np.asarray(p, float), np.asarray(counts, float)
    return Table(np.ones_like(p, bool), counts, p, np.full(len(p), 2.0))


def test_by_hand():
    """Pairs at 0.9, 0.8 and 0.1, 0.2 have bins of their own, with gaps of 0.1, 0.2, 0.1 and 0.2."""
    t = table([[0.9, 0.1], [0.8, 0.2]], [[8, 2], [5, 5]])
    assert share_calibration.error(t) == pytest.approx((0.1 + 0.3) / 2)
    one_bin = table([[0.55, 0.45], [0.58, 0.42]], [[1, 0], [0, 1]])  # the gaps of a bin cancel
    assert share_calibration.error(one_bin) == pytest.approx(abs(0.565 - 0.5))


def test_reliability_leaves_out_options_that_do_not_exist():
    t = Table(np.array([[True, True, False]]), np.array([[4.0, 1, 0]]), np.array([[0.7, 0.3, 0]]), np.ones(1))
    assert sum(b["pairs"] for b in share_calibration.reliability(t)) == 2


@pytest.mark.parametrize("votes", [5, 25])
def test_a_perfect_model_is_within_its_null(votes):
    """Against the plurality of five votes it would have an error of 0.09 however many rows there are."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1], 6000)
    perfect = share_calibration.with_null(table(p, [rng.multinomial(votes, x) for x in p]), 0, draws=50)
    assert perfect["value"] < perfect["null"] * 1.2
    assert perfect["value"] < 0.008
    sharper = p**2 / (p**2).sum(-1, keepdims=True)
    sure = share_calibration.with_null(table(sharper, [rng.multinomial(votes, x) for x in p]), 0, draws=50)
    assert sure["value"] > 5 * sure["null"]


def test_the_null_is_that_of_a_perfect_model():
    """Mean over worlds in which people vote as predicted."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet([2, 1], 60)
    errors = [share_calibration.error(table(p, [rng.multinomial(5, x) for x in p])) for _ in range(200)]
    null = share_calibration.with_null(table(p, [rng.multinomial(5, x) for x in p]), 0)
    assert null["expected"] == pytest.approx(np.mean(errors), rel=0.05)
    assert null["null"] == pytest.approx(np.percentile(errors, 95), rel=0.15)
