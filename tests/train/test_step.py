"""One optimizer step: however rows are split into micro-batches, the same update."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax.config.train import OptimConfig
from moral_jax.models import read_out
from moral_jax.objectives.votes import OBJECTIVES
from moral_jax.train import optim, step
from tests.helpers import tiny
from tests.models.test_decoder import assert_same

MODEL = tiny.model(tiny.spec(), concentration="learned")
SHALLOW = tiny.model(tiny.spec(layers=1), concentration="learned")  # how rows are split is nothing to the layers


@pytest.fixture(scope="module")
def batch():
    """Eight rows, questions of unequal weight, one row empty."""
    rng = np.random.default_rng(0)
    asked = tiny.questions(rng, 11, 97)
    rows = [asked[:2], asked[2:3], asked[3:6], [], asked[6:7], asked[7:9], asked[9:10], asked[10:]]
    return tiny.lay_out(rows, length=48, slots=3)


# with AdamW's usual eps, a gradient that is nothing but rounding would move its weight by a whole lr
TX = optim.make(OptimConfig(lr=1e-3, warmup=0.0, eps=1e-3), 10)
step_of = functools.cache(lambda objective: step.make_train_step(OBJECTIVES[objective], SHALLOW, TX))


def run(batch, rows, objective="dirichlet_multinomial"):
    state = step.init_state(tiny.params(SHALLOW), SHALLOW, TX)
    return step_of(objective)(state, {}, step.split_micro_batches(batch, rows))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_by_eight_two_by_four_eight_by_one(batch, objective):
    whole, metrics = run(batch, 8, objective)
    for rows in (4, 1):
        parts, part_metrics = run(batch, rows, objective)
        assert_same(parts.params, whole.params, rtol=1e-5)
        assert_same(part_metrics, metrics, rtol=1e-5)


def weighted(batch, weights_BQ):
    return batch._replace(asks=batch.asks._replace(weights_BQ=weights_BQ))


def test_weights_count(batch):
    """A mean over micro-batches would not see that weights differ; their sum may be far above or below one."""
    for factor in (2.0, 1e-4):
        scaled = weighted(batch, batch.asks.weights_BQ * factor)
        assert_same(run(scaled, 2)[0].params, run(batch, 2)[0].params, rtol=1e-5)
    first = batch.asks.weights_BQ.copy()
    first[1:] = 0
    alone = tiny.lay_out([tiny.questions(np.random.default_rng(0), 11, 97)[:2]], length=48, slots=3)
    assert_same(run(weighted(batch, first), 2)[0].params, run(alone, 1)[0].params, rtol=1e-5)


def test_the_gradient_is_of_the_weighted_mean(batch):
    params = tiny.params(MODEL)

    def mean(p):
        total, weight = OBJECTIVES["soft_cross_entropy"].loss(read_out.read_out(p, MODEL, batch), batch)["loss"]
        return total / weight

    got, metrics = jax.jit(
        lambda p: step.gradients(OBJECTIVES["soft_cross_entropy"], MODEL, p, {}, step.split_micro_batches(batch, 2))
    )(params)
    assert_same(got, jax.jit(jax.grad(mean))(params), rtol=1e-5)
    assert float(metrics["loss"][1]) == pytest.approx(batch.asks.weights_BQ.sum(), rel=1e-6)


def test_steps_count_and_state_is_donated(batch):
    tx = optim.make(OptimConfig(), 10)
    state = step.init_state(tiny.params(MODEL), MODEL, tx)
    take = step.make_train_step(OBJECTIVES["soft_cross_entropy"], MODEL, tx)
    micro = step.split_micro_batches(batch, 4)
    after, metrics = take(state, {}, micro)
    assert int(after.step) == 1
    assert state.params["decoder"]["embedding"].is_deleted()
    assert float(metrics["grad_norm"][0]) > 0
    assert tuple(map(float, metrics["questions"])) == (11, 1)  # empty slots, and the first item's number, are none
    before = float(metrics["loss"][0])
    for _ in range(9):
        after, metrics = take(after, {}, micro)
    assert float(metrics["loss"][0]) < before
    assert after.params["decoder"]["embedding"].dtype == jnp.float32


@pytest.mark.parametrize("moments", ["float32", "bfloat16"])
def test_bfloat16_weights_and_moments_keep_their_types_and_learn(batch, moments):
    """Types that drifted would compile again each step, or fail to be donated."""
    model = tiny.model(tiny.spec(), concentration="learned", param_dtype="bfloat16", dtype="bfloat16")
    tx = optim.make(OptimConfig(lr=1e-2, warmup=0.0, b2=0.95, moment_dtype=moments), 10)
    state = step.init_state(tiny.params(model), model, tx)
    types = jax.tree.map(lambda x: x.dtype, state)
    assert {str(x.dtype) for x in jax.tree.leaves(state.params["decoder"])} == {"bfloat16"}
    assert str(state.params["head"]["bias"].dtype) == "float32"
    floats = {str(x.dtype) for x in jax.tree.leaves(state.opt_state) if jnp.issubdtype(x.dtype, jnp.floating)}
    assert floats == {moments}
    take = step.make_train_step(OBJECTIVES["soft_cross_entropy"], model, tx)
    losses = []
    for _ in range(6):
        state, metrics = take(state, {}, step.split_micro_batches(batch, 4))
        assert jax.tree.map(lambda x: x.dtype, state) == types
        losses.append(float(metrics["loss"][0]))
    assert take._cache_size() == 1
    assert losses[-1] < losses[0]
