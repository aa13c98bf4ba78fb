"""Tests yardsticks against closed forms, brute force, and the released dev votes."""

import itertools
import json

import numpy as np
import pytest
from scipy.stats import dirichlet, spearmanr

from moral_jax.analysis import ceiling, metrics, second_order
from moral_jax.analysis.table import Table


def table(p, counts, s=2.0):
    p, counts = np.asarray(p, float), np.asarray(counts, float)
    return Table(np.ones_like(p, bool), counts, p, np.full(len(p), s))


E1 = table([[0.7, 0.3]], [[4, 1]])


def test_true_shares_in_closed_form():
    """E1 under a flat prior: 0.8 (psi(7) - psi(5)) + 0.2 (psi(7) - psi(2)) = 0.583333."""
    flat = np.ones((1, 2))
    assert ceiling.true_shares_cross_entropy(E1, flat)[0] == pytest.approx(0.583333, abs=1e-6)
    drawn = dirichlet([5, 2]).rvs(200_000, random_state=0)
    assert (-np.log(drawn) @ [0.8, 0.2]).mean() == pytest.approx(0.583333, abs=5e-3)
    entropy = -(drawn * np.log(drawn)).sum(-1).mean()
    assert ceiling.true_shares_entropy(E1, flat)[0] == pytest.approx(entropy, abs=2e-3)


def test_options_that_do_not_exist_change_nothing():
    wide = Table(np.array([[True, True, False]]), np.array([[4.0, 1, 0]]), np.array([[0.7, 0.3, 0]]), np.ones(1))
    alpha = np.array([[1.0, 1, 0]])
    assert ceiling.true_shares_cross_entropy(wide, alpha)[0] == pytest.approx(0.583333, abs=1e-6)
    assert ceiling.true_shares_entropy(wide, alpha) == pytest.approx(ceiling.true_shares_entropy(E1, np.ones((1, 2))))


def test_nobody_who_does_not_see_the_votes_can_expect_less():
    """Votes from known shares: those shares themselves score what the closed form says, and the votes' entropy less."""
    rng = np.random.default_rng(0)
    true = rng.dirichlet([1.0, 1.0], 20_000)
    t = table(true, [rng.multinomial(5, x) for x in true])
    expected = ceiling.true_shares_cross_entropy(t, ceiling.fitted_alpha(t, t.counts_EC)).mean()
    assert metrics.cross_entropy(t).mean() == pytest.approx(expected, abs=5e-3)
    assert metrics.vote_entropy(t).mean() < expected - 0.1


def test_votes_of_another_panel_by_brute_force():
    """All ways to draw m of the panel's five votes; the same prior for all."""
    second = np.array([[4.0, 1.0], [1.0, 4.0], [5.0, 0.0]])
    t = table(np.full((3, 2), 0.5), [[3, 2], [0, 5], [5, 0]])
    curve, alpha = ceiling.votes_curve(t, second), ceiling.fit_dirichlet(second)
    assert curve.shape == (3, 6)
    for e, m in itertools.product(range(3), range(6)):
        voters = np.repeat([0, 1], second[e].astype(int))
        drawn = [np.bincount(voters[list(chosen)], minlength=2) for chosen in itertools.combinations(range(5), m)]
        want = np.mean([-t.q_EC[e] @ np.log((alpha + c) / (alpha.sum() + m)) for c in drawn])
        assert curve[e, m] == pytest.approx(want)
    np.testing.assert_allclose(curve[:, 5], metrics.cross_entropy(ceiling.second_panel(t, second)))


def test_worth_in_votes_lies_on_the_curve():
    curve = np.array([[0.7, 0.6, 0.5, 0.45]])
    for ce, want in ((0.65, 0.5), (0.6, 1), (0.475, 2.5), (0.8, 0), (0.3, 3)):
        assert ceiling.worth(np.array([ce]), curve)[0] == pytest.approx(want)


def test_an_option_that_nobody_took_in_training_is_not_ruled_out():
    """A scale of three on which no training row has the middle: its share is that of one imagined even row."""
    train = table(np.full((9, 3), 1 / 3), [[4, 0, 0], [0, 0, 4], [2, 0, 2]] * 3)
    scored = table([[1 / 3] * 3] * 2, [[0, 4, 0], [4, 0, 0]])
    source = ceiling.with_even_rows(train)
    prior = ceiling.mean_share(scored, source)
    np.testing.assert_allclose(prior.p_EC[0], [(4.5 + 1 / 3) / 10, 1 / 30, (4.5 + 1 / 3) / 10])
    assert metrics.cross_entropy(prior)[0] == pytest.approx(np.log(30))
    assert metrics.dirichlet_nll(ceiling.dirichlet_prior(scored, source)).max() < 20
    assert metrics.cross_entropy(ceiling.mean_share(scored, train))[0] > 600  # the log of the smallest number


def test_even_rows_know_how_many_options_rows_have():
    mixed = Table(
        np.array([[True, True, False], [True] * 3]), np.array([[4.0, 0, 0], [1, 1, 0]]), np.zeros((2, 3)), np.ones(2)
    )
    added = ceiling.with_even_rows(mixed)
    np.testing.assert_allclose(added.counts_EC[2:], [[2, 2, 0], [2 / 3] * 3])
    assert added.options_E.tolist() == [2, 3, 2, 3]


def test_the_ceiling_of_the_split_correlation():
    """Under Beta(1, 1) and many votes the truth ranks splits perfectly, with five it cannot."""

    def reached(votes):
        t = table(np.full((400, 2), 0.5), np.tile([votes - votes // 2, votes // 2], (400, 1)))

        def correlation(pi, counts):
            return spearmanr(pi[:, 0] * pi[:, 1], (counts / counts.sum(-1, keepdims=True)).prod(-1)).statistic

        return ceiling.split_ceiling(t, np.ones((400, 2)), correlation, 10, 0)

    assert reached(5) == pytest.approx(0.567, abs=0.03)
    assert reached(20) == pytest.approx(0.844, abs=0.02)
    assert reached(100) == pytest.approx(0.965, abs=0.01)


@pytest.fixture(scope="module")
def dev(dilemmas):
    """Votes of both panels on the 2,340 released dev rows, and equal shares."""
    rows = [json.loads(line) for line in dilemmas.read_text().splitlines()]
    first, second = (np.array([r[k] for r in rows], float) for k in ("gold_annotations", "human_perf_annotations"))
    return table(np.full(first.shape, 0.5), first), second


def test_dev_squared_distances(dev):
    t, second = dev
    assert metrics.squared_distance(t).mean() == pytest.approx(0.171453, abs=1e-6)
    people = t.replace(p_EC=second / second.sum(-1, keepdims=True))
    assert metrics.squared_distance(people).mean() == pytest.approx(0.064137, abs=1e-6)


def test_dev_true_shares(dev):
    t, _ = dev
    alpha = ceiling.fitted_alpha(t, t.counts_EC)
    best = ceiling.true_shares_cross_entropy(t, alpha)
    assert best.mean() == pytest.approx(0.494166, abs=2e-6)
    by_split = {3: 0.750792, 4: 0.583287, 5: 0.161993}
    for most, want in by_split.items():
        assert best[t.counts_EC.max(-1) == most].mean() == pytest.approx(want, abs=2e-6)
    assert ceiling.true_shares_entropy(t, alpha).mean() == pytest.approx(0.494242, abs=2e-6)
    floors = {"total_variation": 0.1407, "jensen_shannon": 0.0307, "brier": 0.0656, "kl": 0.1080}
    drawn = list(ceiling.true_shares_draws(t, alpha, 40, 0))
    for name, want in floors.items():
        assert np.mean([metrics.ROW_METRICS[name](d) for d in drawn]) == pytest.approx(want, rel=0.02), name


def test_dev_votes_of_another_panel(dev):
    t, second = dev
    curve = ceiling.votes_curve(t, second).mean(0)
    np.testing.assert_allclose(curve[1:], [0.6318, 0.5996, 0.5800, 0.5668, 0.5573], atol=6e-5)


def test_dev_anecdotes(shared):
    counts = json.loads((shared / "scruples" / "anecdotes" / "dev_label_counts_no_text.json").read_text())
    t = table(np.full(np.shape(counts), 0.2), counts)
    alpha = ceiling.fitted_alpha(t, t.counts_EC)
    assert ceiling.true_shares_cross_entropy(t, alpha).mean() == pytest.approx(0.734532, abs=5e-6)
    assert ceiling.true_shares_entropy(t, alpha).mean() == pytest.approx(0.765040, abs=5e-6)
    constant = ceiling.mean_share(t, t)
    assert np.corrcoef(constant.p_EC.ravel(), t.q_EC.ravel())[0, 1] == pytest.approx(0.686284, abs=1e-6)
    assert metrics.share_correlation(constant, np.ones((1, len(counts))))[0] == pytest.approx(0, abs=1e-9)


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


def test_the_ceiling_is_on_the_scale_of_the_reported_correlation():
    """`second_order` reports both: with the true shares as predictions, one is the other."""
    rng = np.random.default_rng(0)
    true = rng.dirichlet([1.0, 1.0], 3000)
    t = table(true, [rng.multinomial(5, x) for x in true], s=1e9)
    numbers = second_order.second_order(t, None, 100, 0, [[]] * 3000)
    assert numbers["split_ceiling"] == pytest.approx(numbers["split_correlation"]["value"], abs=0.04)
    assert numbers["split_ceiling"] == pytest.approx(0.567, abs=0.02)
