"""Advantages: values of TRL's, tunix' and OpenRLHF's formulas, computed apart from this code."""

import numpy as np
import pytest

from moral_jax.objectives import advantages

NAN = float("nan")


@pytest.mark.parametrize(
    ("rewards", "baseline", "scale", "want"),
    [
        ([1, 0, 0, 1], "mean", "group", [0.865875, -0.865875, -0.865875, 0.865875]),
        ([1, 0, 0, 0], "mean", "group", [1.4997, -0.4999, -0.4999, -0.4999]),
        ([1, 0, 0, 0], "mean", "none", [0.75, -0.25, -0.25, -0.25]),
        ([1, 0, 0, 0], "others", "none", [1, -1 / 3, -1 / 3, -1 / 3]),
        ([1, 0, 0, 0], "none", "none", [1, 0, 0, 0]),
        ([10, 9.99], "mean", "group", [0.6972, -0.6972]),  # however small the difference: refused by the config
        ([2, 2, 2], "mean", "group", [0, 0, 0]),
        ([2, NAN, 1], "mean", "none", [0.5, 0, -0.5]),  # who says nothing moves nobody's mean
        ([NAN, NAN], "mean", "group", [0, 0]),
    ],
)
def test_groups(rewards, baseline, scale, want):
    found = advantages.of_groups(np.array([rewards], float), baseline, scale)[0]
    np.testing.assert_allclose(found, want, atol=5e-5)


def test_groups_without_signal():
    groups = np.array([[1.0, 1, 1], [1, 0, 1], [NAN, 1, NAN], [NAN, 1, 0], [NAN, NAN, NAN]])
    assert advantages.without_signal(groups).tolist() == [True, False, True, False, True]


def test_generalised_advantages_have_the_score_at_the_last_token():
    """And nothing is expected after it, so that no state of padding enters."""
    rewards_T = advantages.token_rewards(1.0, np.array([0.1, 0.2, 0.3]), 0.05)
    np.testing.assert_allclose(rewards_T, [-0.005, -0.01, 0.985])
    found_T, returns_T = advantages.generalised(rewards_T, np.array([0.1, 0.2, 0.3]), 1.0, 0.95)
    np.testing.assert_allclose(found_T, [0.798712, 0.74075, 0.685], atol=1e-6)
    np.testing.assert_allclose(returns_T, [0.898712, 0.94075, 0.985], atol=1e-6)


def test_the_discount():
    found_T, _ = advantages.generalised(np.array([0.0, 1.0]), np.zeros(2), 0.5, 1.0)
    np.testing.assert_allclose(found_T, [0.5, 1.0])


def test_whitening_takes_the_unbiased_variance_of_all_tokens():
    found = advantages.whitened([np.array([1.0, 2.0]), np.array([3.0, 4.0])], [True, True])
    np.testing.assert_allclose(np.concatenate(found), [-1.161895, -0.387298, 0.387298, 1.161895], atol=1e-6)
    assert advantages.whitened([np.array([3.0])], [True])[0] == 0


def test_whitening_counts_what_is_learned_from():
    found = advantages.whitened([np.array([1.0, 2.0, 3.0]), np.array([99.0])], [True, False])
    np.testing.assert_allclose(found[0], [-1, 0, 1], atol=1e-6)


@pytest.mark.parametrize(("kind", "want"), [("texts", -0.1), ("tokens", 0.1875), ("fixed", 0.09375), ("sums", 0.75)])
def test_reductions(kind, want):
    """Four texts of 2, 4, 4, 6 tokens with losses -1.8, .4, .5, .5 each, of at most 8 tokens."""
    lengths, losses = [2, 4, 4, 6], [-1.8, 0.4, 0.5, 0.5]
    pairs = [advantages.reduction(kind, n, 8) for n in lengths]
    total = sum(share * n * loss for (share, _), n, loss in zip(pairs, lengths, losses, strict=True))
    assert total / sum(divisor for _, divisor in pairs) == pytest.approx(want)
