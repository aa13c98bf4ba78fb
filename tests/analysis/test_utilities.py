"""Utilities as pure functions: published and hand-computed numbers, plans, and what no answer may change."""

import itertools

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import spearmanr

from moral_jax.analysis.utilities import answers, bradley_terry, coherence, exchange, extras, plan, thurstone
from moral_jax.analysis.utilities.answers import Answers

MU = np.array((-1.3720, -0.5717, 0.1143, 0.6860, 1.1433))
V = np.array((0.25, 0.64, 1.0, 1.44, 0.36))
PAIRS = np.array(list(itertools.combinations(range(5), 2)))
P = np.array((0.1981, 0.0919, 0.0567, 0.0006, 0.2961, 0.1916, 0.0432, 0.3572, 0.1888, 0.3666))


def no_fit(_):
    raise AssertionError("nothing is fitted before the ring is asked")


@pytest.mark.parametrize(
    ("outcomes", "budget", "held", "batches", "fitted"),
    [(20, 172, 9, 1, 181), (40, 425, 39, 1, 540), (100, 1328, 247, 3, 1600), (510, 9174, 1000, 18, 9510)],
)
def test_the_budget(outcomes, budget, held, batches, fitted):
    assert (plan.budget(outcomes), plan.held_out_count(outcomes)) == (budget, held)
    found = list(plan.batches(outcomes, 42, lambda pairs: np.arange(outcomes, dtype=float)))
    assert sum(len(b.pairs) for b in found if b.is_held_out) == held
    assert sum(b.name.startswith("batch") for b in found) == batches
    assert sum(len(b.pairs) for b in found if not b.is_held_out) == fitted
    assert plan.size(outcomes) == held + fitted
    everything = [pair for b in found for pair in b.pairs]
    assert len(set(everything)) == len(everything)
    assert all(0 <= i < j < outcomes for i, j in everything)


def test_the_ring_hangs_together_and_holds_nothing_that_is_held_out():
    found = list(
        itertools.takewhile(lambda b: not b.name.startswith("batch"), plan.batches(40, 3, lambda _: np.zeros(40)))
    )
    held, ring = found[0], found[-1]
    assert held.is_held_out
    assert not ring.is_held_out
    assert not set(held.pairs) & set(ring.pairs)
    assert len(ring.pairs) == 40
    small = list(plan.batches(12, 0, lambda _: np.zeros(12)))  # nearly nothing is held out: two neighbours each
    degree = np.bincount(np.array(small[1].pairs).ravel(), minlength=12)
    assert degree.min() >= 1
    assert degree.sum() == 24


def test_batches_take_close_and_rarely_asked_pairs():
    mu = np.random.default_rng(0).permutation(200).astype(float)
    found = [b for b in plan.batches(200, 1, lambda _: mu) if b.name.startswith("batch")]
    gaps = [np.abs(mu[[i for i, _ in b.pairs]] - mu[[j for _, j in b.pairs]]).mean() for b in found]
    assert max(gaps) < 35  # of two random places in 200 it is 67
    degree = np.bincount(np.array([pair for b in found for pair in b.pairs]).ravel(), minlength=200)
    assert degree.min() > degree.mean() / 2


def test_a_plan_is_a_function_of_the_seed_and_of_the_answers():
    def run(seed, mu):
        return [b.pairs for b in plan.batches(60, seed, lambda _: mu, 100)]

    up, down = np.arange(60.0), np.sin(np.arange(60.0))
    assert run(1, up) == run(1, up)
    assert run(1, up)[:2] == run(1, down)[:2]
    assert run(1, up)[2:] != run(1, down)[2:]
    assert run(1, up) != run(2, up)


def test_thurstone_returns_what_was_planted():
    exact = thurstone.Utilities(MU, V).p(PAIRS)
    assert exact.round(4).tolist() == P.tolist()
    found = thurstone.fit(PAIRS, exact, 5, steps=20_000)
    assert found.mu_N == pytest.approx(MU, abs=2e-4)
    assert found.v_N == pytest.approx(V, abs=2e-4)
    loss = thurstone.log_loss(found.z(PAIRS), exact).mean()
    entropy = -(exact * np.log(exact) + (1 - exact) * np.log(1 - exact)).mean()
    assert (loss, entropy) == (pytest.approx(0.409507, abs=5e-7), pytest.approx(0.409507, abs=5e-7))
    usual = thurstone.fit(PAIRS, exact, 5)  # the paper's thousand steps come close
    assert thurstone.log_loss(usual.z(PAIRS), exact).mean() == pytest.approx(loss, abs=1e-5)


def test_standardising_changes_no_probability():
    mu, v = np.array([3.0, 5.0, -1.0]), np.array([4.0, 1.0, 9.0])
    pairs = np.array([(0, 1), (0, 2), (1, 2)])
    found = thurstone.standardised(mu, v)
    assert found.p(pairs) == pytest.approx(
        ndtr((mu[pairs[:, 0]] - mu[pairs[:, 1]]) / np.sqrt(v[pairs[:, 0]] + v[pairs[:, 1]] + 1e-5))
    )
    assert (found.mu_N.mean(), found.mu_N.std(ddof=1)) == (pytest.approx(0), pytest.approx(1))


def test_who_prefers_nothing_has_no_utilities():
    found = thurstone.fit(PAIRS, np.full(10, 0.5), 5)
    assert not found.mu_N.any()


def test_the_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    mu, s, w = rng.normal(size=5), rng.normal(size=5), rng.random(10)
    ends = thurstone.ends_of(PAIRS, 5)
    by_mu, by_s = thurstone._gradient(mu[None], s[None], PAIRS, P, (w / w.sum())[None], ends)

    def loss(mu, s):
        z = (mu[PAIRS[:, 0]] - mu[PAIRS[:, 1]]) / np.sqrt(np.exp(s)[PAIRS[:, 0]] + np.exp(s)[PAIRS[:, 1]] + 1e-5)
        return w @ thurstone.log_loss(z, P) / w.sum()

    step = 1e-6 * np.eye(5)
    assert by_mu[0] == pytest.approx([(loss(mu + e, s) - loss(mu - e, s)) / 2e-6 for e in step], abs=1e-7)
    assert by_s[0] == pytest.approx([(loss(mu, s + e) - loss(mu, s - e)) / 2e-6 for e in step], abs=1e-7)


def test_bradley_terry():
    exact = thurstone.Utilities(MU, V).p(PAIRS)
    found = bradley_terry.fit(PAIRS, exact, 5)
    assert found.u_N == pytest.approx((-2.1323, -0.712, 0.2322, 0.9059, 1.7061), abs=1e-4)
    assert found.alpha == 0
    separable = bradley_terry.fit(PAIRS, (exact > 0.5).astype(float), 5)
    assert separable.alpha == 0.01
    assert np.isfinite(separable.u_N).all()
    assert np.argsort(separable.u_N).tolist() == [0, 1, 2, 3, 4]
    apart = bradley_terry.fit(np.array([(0, 1), (2, 3)]), np.array([0.3, 0.6]), 4)  # two islands
    assert np.isfinite(apart.u_N).all()


def answered(outcomes, seed, share_of_a=0.0, samples=10):
    """Returns the utilities that were planted, and what is answered to pairs by samples in both orders."""
    rng = np.random.default_rng(seed)
    u = rng.standard_normal(outcomes)
    known: dict[tuple[int, int], float] = {}

    def p_of(pairs):
        for i, j in pairs:
            if (i, j) not in known:
                p = ndtr((u[i] - u[j]) / np.sqrt(0.5))
                shown = [(1 - share_of_a) * q + share_of_a for q in (p, 1 - p)]
                first, second = (rng.binomial(samples, q) / samples for q in shown)
                known[i, j] = (first + 1 - second) / 2
        return np.array([known[pair] for pair in pairs])

    return u, p_of


@pytest.mark.parametrize(("share_of_a", "least"), [(0.0, 0.99), (0.5, 0.97)])
def test_utilities_are_recovered_at_the_exact_budget(share_of_a, least):
    """Spearman 0.996 by Thurstone, 0.994 by Bradley and Terry; 0.983 when half of all answers are A whatever is
    asked."""
    u, p_of = answered(100, 0, share_of_a)

    def utilities(pairs):
        return thurstone.fit(np.array(pairs), p_of(pairs), 100).mu_N

    fitted = [pair for b in plan.batches(100, 42, utilities) if not b.is_held_out for pair in b.pairs]
    pairs, p = np.array(fitted), p_of(fitted)
    assert len(fitted) == 1600
    assert spearmanr(thurstone.fit(pairs, p, 100).mu_N, u)[0] >= least
    assert spearmanr(bradley_terry.fit(pairs, p, 100).u_N, u)[0] >= least


def test_weights_are_as_pairs_that_come_several_times():
    u, p_of = answered(12, 1)
    pairs = np.array(list(itertools.combinations(range(12), 2)))
    p = p_of(list(map(tuple, pairs.tolist())))
    w = np.bincount(np.random.default_rng(0).integers(len(p), size=len(p)), minlength=len(p))
    drawn = np.repeat(np.arange(len(p)), w)
    both = thurstone.fit_each(pairs, p, 12, np.stack([w, np.ones(len(p))]).astype(float))
    assert both.mu_N[0] == pytest.approx(thurstone.fit(pairs[drawn], p[drawn], 12).mu_N, abs=1e-6)
    assert both.mu_N[1] == pytest.approx(thurstone.fit(pairs, p, 12).mu_N, abs=1e-12)
    assert both.mu_N[0] != pytest.approx(both.mu_N[1], abs=1e-3)


def test_cycles():
    assert coherence.cycle(*map(np.array, (0.9, 0.9, 0.9))) == pytest.approx(0.09)
    assert coherence.cycle(*map(np.array, (1.0, 1.0, 0.0))) == 1
    assert coherence.cycle(*map(np.array, (0.5, 0.5, 0.5))) == 0.25
    found = coherence.triads(PAIRS)
    assert len(found) == 10  # all triples of five
    for ab, bc, ac in found:
        assert PAIRS[ab].tolist() == [PAIRS[ac][0], PAIRS[bc][0]]
        assert PAIRS[ac][1] == PAIRS[bc][1]
    assert len(coherence.triads(np.array([(0, 1), (1, 2), (2, 3)]))) == 0
    many = np.array(list(itertools.combinations(range(25), 2)))
    assert len(coherence.triads(many)) == 1000
    assert (coherence.triads(many) == coherence.triads(many)).all()


def test_expected_utility():
    outcomes = np.array([-1.0, 0.0, 1.0])
    expected = coherence.expected(outcomes, [{0: 0.5, 2: 0.5}, {1: 0.2, 2: 0.8}, {0: 0.7, 1: 0.3}])
    assert expected == pytest.approx([0, 0.8, -0.7])
    found = coherence.expected_utility(np.array([0.1, 0.6, -0.9]), expected)
    assert found["correlation"] == pytest.approx(0.973985, abs=1e-6)
    assert found["distance"] == pytest.approx(0.214436, abs=1e-6)
    assert found["order"] == 1
    assert coherence.expected_utility(np.zeros(3), expected)["correlation"] == 0


def test_the_value_of_states():
    """A first state that is worth what it leads to has no distance; one that is worth more has."""
    after = {0: [1, 2], 1: [], 2: []}
    worth = coherence.instrumental(np.array([0.99 * 0.75, 1.0, 0.5]), after)
    more = coherence.instrumental(np.array([3.0, 1.0, 0.5]), after)
    assert worth["distance"] < 0.02
    assert more["distance"] > 0.3
    free = coherence.values_of_states(np.array([3.0, 1.0, 0.5]), [[1, 2], [], []], np.array([False] * 3))
    assert free == pytest.approx([3.0, 1.0, 0.5], abs=0.02)  # a reward may be anything where nothing is first


def line(a, b):
    return exchange.Line(np.array(a), np.array(b), np.array(0.0))


def test_exchange_rates():
    grid = [1, 10, 100]
    assert exchange.rate(line(0.5, 0.0), line(0.5, 1.0), grid) == pytest.approx(7.389056, abs=1e-6)
    assert exchange.rate(line(0.5, 0.0), line(0.4, 1.0), grid) == pytest.approx(5.651485, abs=1e-6)
    there, back = (
        exchange.rate(*of, grid) for of in ((line(0.5, 0.0), line(0.4, 1.0)), (line(0.4, 1.0), line(0.5, 0.0)))
    )
    assert there * back == pytest.approx(1)
    assert np.isnan(exchange.rate(line(-0.5, 0.0), line(0.5, 1.0), grid))
    fitted = exchange.line(1 + 0.5 * np.log([1, 10, 100]), grid)
    assert (fitted.a, fitted.b, fitted.error) == (pytest.approx(0.5), pytest.approx(1), pytest.approx(0, abs=1e-12))


def test_random_answers_have_the_published_confidence():
    """Twenty samples a pair: 0.588099 on average (paper: 58.7 %), a tie with 0.176197."""
    rng = np.random.default_rng(0)
    shares = rng.binomial(10, 0.5, (40_000, 2)) / 10
    a = Answers(np.tile([(0, 1)], (40_000, 1)), shares, 10)
    assert a.confidence_E.mean() == pytest.approx(0.588099, abs=0.002)
    assert a.is_tie_E.mean() == pytest.approx(0.176197, abs=0.006)


def test_undecided_and_split():
    shares = np.array([(0.5, 0.5), (0.9, 0.9), (1.0, 0.0), (0.6, 0.7), (0.6, 1.0)])
    assert answers.is_undecided(Answers(np.zeros((5, 2), int), shares, None)).tolist() == [
        True,
        False,
        False,
        True,
        False,
    ]
    low, high = answers.wilson(np.array([0.5, 1.0]), 10.0)  # Wilson's interval of 5 and of 10 in 10
    assert low == pytest.approx([0.2366, 0.7225], abs=1e-4)
    assert high == pytest.approx([0.7634, 1.0], abs=1e-4)
    p = np.array([(0.9, 0.9, 0.9), (0.1, 0.6, np.nan)])
    assert answers.is_split(p, np.full((2, 3), 20.0)).tolist() == [True, False, False]
    assert not answers.is_split(p, np.full((2, 3), 2.0)).any()  # two votes say nothing


def later(months, times, share):
    return {"row": f"later {months} {times:g}", "probabilities": [1 - share, share]}


@pytest.mark.parametrize(
    ("curve", "best"), [(lambda m: 1 / (1 + 0.1 * m), "hyperbolic"), (lambda m: np.exp(-0.05 * m), "exponential")]
)
def test_discounting_finds_the_curve_that_was_planted(curve, best):
    records = [
        later(m, t, 1 / (1 + (t * curve(m)) ** -4)) for m in (1, 6, 12, 24, 36) for t in np.geomspace(0.5, 30, 25)
    ]
    found = {(row, column): cell["value"] for (_, row, column), cell in extras.discounting(records)}
    assert found["12 months", extras.WORTH] == pytest.approx(curve(12), rel=0.02)
    errors = {row.split()[0]: value for (row, column), value in found.items() if column == "error (log)"}
    assert errors[best] == min(errors.values()) < 0.02
    now = [later(m, t, 0.1) for m in (1, 6, 12) for t in (0.5, 2, 30)]
    assert not list(extras.discounting(now))  # who never waits has no rate


def choice(name, mu, chosen):
    pairs = itertools.combinations(range(len(mu)), 2)
    records = [
        {"row": f"{name} | {i} | {j}", "probabilities": [float(ndtr(mu[i] - mu[j])), float(ndtr(mu[j] - mu[i]))]}
        for i, j in pairs
    ]
    return [*records, {"row": f"{name} | all", "probabilities": [float(i == chosen) for i in range(len(mu))]}]


def test_maximisation_shows_every_answer():
    """One question's choice is the best, the other's the third of six."""
    mu = np.array([0.0, 2.0, -1.0, 1.0, 0.5, -2.0])
    records = choice("a", mu, 1) + choice("b", mu, 4)
    found = {(row, column): cell["value"] for (_, row, column), cell in extras.maximisation(records, 0)}
    assert [value for (_, column), value in found.items() if column == "value"] == [0.5, 1.0, 1.0]
    assert [value for (_, column), value in found.items() if column == "by chance"] == pytest.approx(
        [1 / 6, 3 / 6, 5 / 6]
    )
