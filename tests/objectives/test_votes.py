"""The losses: upstream's values, the laws they obey, the numbers they survive."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betaln, gammaln

from moral_jax.objectives import votes
from moral_jax.types import NEG, Batch, Options
from tests.helpers import reads


def batch_of(counts, weights=None) -> Batch:
    counts = jnp.asarray(counts, jnp.float32)[None]
    weights = jnp.ones(counts.shape[:2]) if weights is None else jnp.asarray(weights, jnp.float32)[None]
    return Batch(None, Options(*[None] * 3, counts_BQC=counts, weights_BQ=weights, items_BQ=None))


def value(name, logits, counts, log_s=None, weights=None):
    logits = jnp.asarray(logits, jnp.float32)[None]
    log_s = jnp.zeros(logits.shape[:2]) if log_s is None else jnp.asarray(log_s, jnp.float32)[None]
    total, weight = votes.OBJECTIVES[name].loss(reads.options(logits, log_s), batch_of(counts, weights))["loss"]
    return float(total / weight)


def exact_nll(alpha, counts):
    """The formula of Scruples in float64."""
    alpha, counts = np.asarray(alpha, float), np.asarray(counts, float)
    A, N = alpha.sum(), counts.sum()
    return -(gammaln(A) - gammaln(A + N) + (gammaln(alpha + counts) - gammaln(alpha)).sum())


# Values of the unit tests of allenai/scruples. There alpha = exp(z), so here s = sum(exp(z)).
UPSTREAM = [
    ("soft_cross_entropy", [[0, 0]], [[0.5, 0.5]], 0.69315),
    ("soft_cross_entropy", [[0, 0], [-1.0986, 1.0986]], [[0.3, 0.7], [0.6, 0.4]], 1.05842),
    ("dirichlet_multinomial", np.log([[1, 1]]), [[0.5, 0.5]], 0.93471),
    ("dirichlet_multinomial", np.log([[1e-20, 1e-20]]), [[3, 0]], 0.6931),
    ("dirichlet_multinomial", np.log([[1, 1], [0.5, 2]]), [[0.3, 0.7], [0.6, 0.4]], 1.10940),
]


@pytest.mark.parametrize(("name", "z", "counts", "want"), UPSTREAM)
def test_upstream_values(name, z, counts, want):
    log_s = np.log(np.exp(np.asarray(z, float)).sum(-1))
    assert value(name, z, counts, log_s) == pytest.approx(want, abs=1e-4)


def test_count_cross_entropy_by_hand():
    """5 votes weigh five times one vote."""
    p = np.array([[0.8, 0.2], [0.4, 0.6]])
    counts = [[4, 1], [0, 1]]
    want = -(4 * np.log(0.8) + np.log(0.2) + np.log(0.6)) / 6
    assert value("count_cross_entropy", np.log(p), counts) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize(("options", "total"), [(2, 5), (3, 4), (5, 3)])
def test_the_likelihood_sums_to_one_over_all_vote_sequences(options, total):
    """A count vector stands for N! / prod c! sequences of votes; there is no such factor in the loss."""
    rng = np.random.default_rng(0)
    log_p = jax.nn.log_softmax(jnp.asarray(rng.normal(size=options), jnp.float32))
    mass = 0.0
    for counts in itertools.product(range(total + 1), repeat=options):
        if sum(counts) == total:
            ways = np.exp(gammaln(total + 1) - gammaln(np.array(counts) + 1.0).sum())
            nll = votes.dirichlet_multinomial_nll(
                log_p[None, None], jnp.full((1, 1), 0.7), jnp.asarray(counts, jnp.float32)[None, None]
            )
            mass += ways * float(jnp.exp(-nll[0, 0]))
    assert mass == pytest.approx(1, abs=1e-5)


def test_two_options_are_the_beta_binomial():
    a, b, k, n = 1.3, 0.4, 2, 5
    want = -(betaln(k + a, n - k + b) - betaln(a, b))
    got = value("dirichlet_multinomial", np.log([[a, b]]), [[k, n - k]], [np.log(a + b)])
    assert got == pytest.approx(want, rel=1e-5)


def test_the_minimum_of_cross_entropy_is_the_entropy_of_the_shares():
    q = np.array([0.2, 0.5, 0.3])
    entropy = -(q * np.log(q)).sum()
    assert value("soft_cross_entropy", [np.log(q)], [10 * q]) == pytest.approx(entropy, rel=1e-6)
    gradient = jax.grad(lambda z: votes.soft_cross_entropy(reads.options(z, None), batch_of([10 * q]))["loss"][0])
    np.testing.assert_allclose(gradient(jnp.log(jnp.asarray(q, jnp.float32))[None, None]), 0, atol=1e-6)


@pytest.mark.parametrize("name", votes.OBJECTIVES)
def test_finite_at_extreme_logits(name):
    """Options at +-80, and 40 nats under the vocabulary's maximum: values and gradients stay numbers."""
    z = jnp.array([[[80.0, -80.0], [-40.0, -41.0], [80.0, 80.0]]])
    counts = [[0, 5], [3, 2], [5, 0]]

    @jax.jit
    def loss(z, log_s):
        return votes.OBJECTIVES[name].loss(reads.options(z, log_s), batch_of(counts))["loss"][0]

    for log_s in (-20.0, 0.0, 20.0, 90.0):
        total, gradients = jax.value_and_grad(loss, argnums=(0, 1))(z, jnp.full((1, 3), log_s))
        assert np.isfinite(total)
        assert all(np.isfinite(g).all() for g in gradients)
    pulled = jax.grad(loss)(z, jnp.zeros((1, 3)))[0, 0]
    assert pulled[1] < -0.5  # even 160 nats away, the votes pull


def exact_rising(a, n):
    """log Gamma(a + n) / Gamma(a) for whole n, as a sum of n logarithms: no digits are lost for any a."""
    return np.log(a + np.arange(int(n))).sum()


@settings(deadline=None, max_examples=150)
@given(
    log_s=st.floats(-40, 25),
    z=st.lists(st.floats(-30, 30), min_size=2, max_size=5),
    counts=st.lists(st.one_of(st.integers(0, 6), st.integers(0, 3500)), min_size=5, max_size=5),
)
def test_dirichlet_multinomial_keeps_its_digits(log_s, z, counts):
    """Against float64 sums, from alpha = e^-100 to e^25 and up to thousands of votes."""
    counts = counts[: len(z)]
    log_s, z = np.float64(np.float32(log_s)), np.asarray(z, np.float32).astype(float)
    log_p = z - np.logaddexp.reduce(z)
    want = exact_rising(np.exp(log_s), sum(counts)) - sum(
        exact_rising(np.exp(log_s + lp), c) for lp, c in zip(log_p, counts, strict=True)
    )
    got = value("dirichlet_multinomial", [z], [counts], [log_s])
    # the largest term is known to half a unit of its last float32 digit
    assert got == pytest.approx(want, rel=3e-5, abs=2e-4 + 2.0**-25 * abs(exact_rising(np.exp(log_s), sum(counts))))


@pytest.mark.parametrize("name", votes.OBJECTIVES)
def test_gradients_against_finite_differences(name):
    rng = np.random.default_rng(0)
    z, log_s = rng.normal(size=(1, 3, 4)), rng.normal(size=(1, 3))
    counts = rng.integers(0, 6, (3, 4)) + np.eye(4)[:3]
    with jax.enable_x64(True):
        batch = batch_of(counts)
        batch = batch_of(jnp.asarray(batch.asks.counts_BQC, jnp.float64), batch.asks.weights_BQ)

        @jax.jit
        def loss(z, log_s):
            return votes.OBJECTIVES[name].loss(reads.options(z, log_s), batch)["loss"][0]

        got = jax.grad(loss, argnums=(0, 1))(jnp.asarray(z), jnp.asarray(log_s))
        for argument, (x, gradient) in enumerate(zip((z, log_s), got, strict=True)):
            for at in np.ndindex(x.shape):
                step = np.zeros_like(x)
                step[at] = 1e-5
                args_up, args_down = [z, log_s], [z, log_s]
                args_up[argument], args_down[argument] = x + step, x - step
                slope = (loss(*map(jnp.asarray, args_up)) - loss(*map(jnp.asarray, args_down))) / 2e-5
                assert float(gradient[at]) == pytest.approx(float(slope), abs=1e-6)


@pytest.mark.parametrize("name", votes.OBJECTIVES)
def test_absent_options_get_no_probability_and_no_gradient(name):
    z = jnp.array([[[0.3, -0.2, NEG], [0.1, 0.4, 0.2]]])
    counts = [[3, 2, 0], [1, 2, 3]]

    @jax.jit
    def loss(z):
        return votes.OBJECTIVES[name].loss(reads.options(z, jnp.zeros((1, 2))), batch_of(counts))["loss"][0]

    assert np.asarray(jax.grad(loss)(z))[0, 0, 2] == 0
    assert float(jnp.exp(votes.log_probabilities(z))[0, 0, 2]) == 0
    two = votes.OBJECTIVES[name].loss(reads.options(z[:, :1, :2], jnp.zeros((1, 1))), batch_of([[3, 2]]))["loss"]
    three = votes.OBJECTIVES[name].loss(reads.options(z[:, :1], jnp.zeros((1, 1))), batch_of([[3, 2, 0]]))["loss"]
    np.testing.assert_allclose(two, three, rtol=1e-6)


@pytest.mark.parametrize("name", ["soft_cross_entropy", "dirichlet_multinomial"])
def test_questions_weigh_the_same_whatever_their_options_and_votes(name):
    """The weight of a question is 1: not its number of options, nor of votes."""
    z = jnp.array([[[0.0, 0.0, NEG, NEG, NEG], [0.0] * 5]])
    total, weight = votes.OBJECTIVES[name].loss(
        reads.options(z, jnp.zeros((1, 2))), batch_of([[1, 1, 0, 0, 0], [100] * 5])
    )["loss"]
    assert float(weight) == 2
    alone = [
        votes.OBJECTIVES[name].loss(reads.options(z[:, i : i + 1], jnp.zeros((1, 1))), batch_of([c]))["loss"][0]
        for i, c in enumerate([[1, 1, 0, 0, 0], [100] * 5])
    ]
    assert float(total) == pytest.approx(float(sum(alone)), rel=1e-6)


@pytest.mark.parametrize("name", votes.OBJECTIVES)
def test_empty_slots_weigh_nothing(name):
    z = jnp.array([[[0.2, 0.1], [NEG, NEG]]])
    got = votes.OBJECTIVES[name].loss(reads.options(z, jnp.zeros((1, 2))), batch_of([[1, 2], [0, 0]], [1, 0]))["loss"]
    want = votes.OBJECTIVES[name].loss(reads.options(z[:, :1], jnp.zeros((1, 1))), batch_of([[1, 2]]))["loss"]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_concentration_is_learned_from_how_votes_split():
    """Unanimous rows ask for less concentration than even ones, at the same shares."""
    z = jnp.zeros((1, 2, 2))

    def slope(counts):
        f = lambda s: votes.dirichlet_multinomial(reads.options(z, s), batch_of(counts))["loss"][0]  # noqa: E731
        return float(jax.jit(jax.grad(f))(jnp.log(jnp.full((1, 2), 2.0))).sum())

    assert slope([[5, 0], [0, 5]]) > 0 > slope([[3, 2], [2, 3]])


@pytest.mark.parametrize("alpha", [[0.9, 1.1], [3.0, 0.01], [1e-6, 1e-6], [400.0, 3.0]])
@pytest.mark.parametrize("counts", [[5, 0], [3, 2], [0, 3498]])
def test_dirichlet_multinomial_against_float64(alpha, counts):
    got = value("dirichlet_multinomial", np.log([alpha]), [counts], [np.log(sum(alpha))])
    assert got == pytest.approx(exact_nll(alpha, counts), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", votes.OBJECTIVES)
@pytest.mark.parametrize("total", [0.3, 7.0])
def test_shares_may_sum_to_anything(name, total):
    """Shares that were cut, or never scaled: a soft cross-entropy reads them as shares; the others read votes, whose
    loss per vote is the same cross-entropy where the votes are few or many."""
    q = np.array([0.2, 0.5, 0.3])
    z = [[0.4, -0.3, 0.1]]
    got = value(name, z, [total * q], [80.0])  # so certain that the votes are a multinomial
    want = value("soft_cross_entropy", z, [q])
    assert got == pytest.approx(want * (total if name == "dirichlet_multinomial" else 1), rel=1e-4)


def test_the_logged_concentration_is_the_mean_over_questions_by_weight():
    z, counts = jnp.zeros((1, 3, 2)), [[1, 2], [3, 1], [0, 0]]
    read = reads.options(z, jnp.array([[1.0, 4.0, 100.0]]))  # the last slot is empty
    total, weight = votes.dirichlet_multinomial(read, batch_of(counts, [1.0, 2.0, 0.0]))["log_concentration"]
    assert float(total / weight) == pytest.approx((1 + 2 * 4) / 3)
