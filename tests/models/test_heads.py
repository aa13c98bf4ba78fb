"""The heads: sums over surface variants, absent options, concentration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax.models import heads
from moral_jax.types import NEG


@pytest.fixture
def state():
    rng = np.random.default_rng(0)
    return {"embedding": jnp.asarray(rng.normal(size=(11, 4)), jnp.float32)}, jnp.asarray(rng.normal(size=(1, 2, 4)))


def logits(params, hidden, ids):
    """Of questions that are read from one state each."""
    states = np.broadcast_to(np.arange(2)[:, None], ids.shape[:-1])
    return heads.option_logits(heads.Table(heads.unembedding(params), None, jnp.float32), hidden, states, ids)


def test_variants_add_their_probabilities(state):
    params, hidden = state
    ids = jnp.array([[[[3, 7], [5, -1]], [[1, -1], [2, 4]]]])
    got = logits(params, hidden, ids)
    weight = np.exp(np.asarray(hidden) @ np.asarray(params["embedding"]).T)
    want = np.log(
        [[weight[0, 0, 3] + weight[0, 0, 7], weight[0, 0, 5]], [weight[0, 1, 1], weight[0, 1, 2] + weight[0, 1, 4]]]
    )
    np.testing.assert_allclose(got[0], want, rtol=1e-5)


def test_absent_options_have_no_weight_and_no_gradient(state):
    params, hidden = state
    ids = jnp.array([[[[3], [5], [-1]], [[1], [-1], [-1]]]])
    assert (logits(params, hidden, ids) == NEG).tolist() == [[[False, False, True], [False, True, True]]]
    gradient = jax.grad(lambda p: logits(p, hidden, ids)[0, 0, 2])(params)
    assert not np.any(gradient["embedding"])


def test_the_untied_table_is_used_where_there_is_one(state):
    params, hidden = state
    ids = jnp.array([[[[3], [5]], [[1], [2]]]])
    both = params | {"unembedding": 2 * params["embedding"]}
    np.testing.assert_allclose(logits(both, hidden, ids), 2 * logits(params, hidden, ids), rtol=1e-5)


def test_log_normaliser_is_over_the_whole_vocabulary(state):
    params, hidden = state
    want = np.log(np.exp(np.asarray(hidden) @ np.asarray(params["embedding"]).T).sum(-1))
    np.testing.assert_allclose(
        heads.log_normaliser(heads.Table(params["embedding"], None, jnp.float32), hidden), want, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["fixed", "learned", "predicted"])
def test_concentration_starts_at_its_value(state, kind):
    _, hidden = state
    head = heads.init_concentration(kind, 3.0, 4)
    assert set(head) == {"fixed": set(), "learned": {"bias"}, "predicted": {"bias", "kernel"}}[kind]
    np.testing.assert_allclose(jnp.exp(heads.log_concentration(head, hidden, 3.0)), 3.0, rtol=1e-6)


def test_predicted_concentration_depends_on_the_question_and_not_on_its_scale(state):
    """A hidden state of any length moves log s by no more than the kernel's norm, so one AdamW step cannot run away."""
    _, hidden = state
    head = {"bias": jnp.float32(0.5), "kernel": jnp.ones((4, 1))}
    unit = np.asarray(hidden) / np.linalg.norm(hidden, axis=-1, keepdims=True)
    for scale in (1.0, 1000.0):
        got = heads.log_concentration(head, scale * hidden, 1.0)
        np.testing.assert_allclose(got, unit.sum(-1) + 0.5, rtol=1e-5)
    assert len(np.unique(got)) > 1


def test_a_questions_value_is_the_mean_over_the_options_that_it_has():
    """Three, two and no options, in a batch of three: each reads states of its own."""
    values = jnp.array([[1.0, 2.0, 6.0, 40.0, 50.0]])
    states = jnp.array([[[0, 1, 2], [3, 4, 0], [2, 2, 2]]])
    ids = jnp.array([[[[5], [6], [7]], [[8], [9], [-1]], [[-1], [-1], [-1]]]])
    np.testing.assert_allclose(heads.of_questions(values, states, ids), [[3.0, 45.0, 0.0]])
