"""The decoder as a function: scan, remat, packing, causality, what is never computed."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax.models import read_out
from moral_jax.objectives import OBJECTIVES
from moral_jax.types import NEG, Batch
from tests.helpers import tiny

LOSS = OBJECTIVES["soft_cross_entropy"]


@functools.partial(jax.jit, static_argnums=1)
def loss_and_grad(params, model, batch: Batch):
    def loss(p):
        total, weight = LOSS.loss(read_out.read_out(p, model, batch), batch)["loss"]
        return total / weight

    return jax.value_and_grad(loss)(params)


def scores(params, model, batch):
    return jax.jit(tiny.options_and_mass, static_argnums=1)(params, model, batch)


def assert_same(a, b, rtol=2e-5):
    """Every leaf, relative to the largest entry of the leaf. What does not exist (NEG) is absent in both; beside it,
    every difference would be small."""
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        exists = y > NEG / 2
        np.testing.assert_array_equal(x > NEG / 2, exists, err_msg=str(path))
        scale = max(float(np.abs(y[exists]).max(initial=0)), 1e-6)
        np.testing.assert_allclose(x[exists] / scale, y[exists] / scale, atol=rtol, err_msg=str(path))


@pytest.mark.parametrize("wrong", [[1.01, 2.0, NEG], [1.0, 2.0, 0.0], [1.0, NEG, NEG], [1.0, np.nan, NEG]])
def test_a_difference_beside_what_does_not_exist_is_seen(wrong):
    right = np.array([1.0, 2.0, NEG])
    assert_same({"x": right * [1.0, 1 + 1e-6, 1.0]}, {"x": right})
    with pytest.raises(AssertionError):
        assert_same({"x": np.array(wrong)}, {"x": right})


@pytest.fixture(scope="module")
def batch() -> Batch:
    asked = tiny.questions(np.random.default_rng(0), 6, 97)
    return tiny.lay_out([asked[:3], asked[3:]], length=48, slots=4)


@pytest.mark.parametrize("change", [{"unroll": 3}, {"unroll": 2}, {"remat": "full"}, {"remat": "dots"}])
def test_scan_unrolled_and_remat_agree(batch, change):
    """A fault inside the layer loop or its recomputation cannot hide."""
    model = tiny.model(tiny.spec())
    params = tiny.params(model)
    assert_same(loss_and_grad(params, tiny.model(model.spec, **change), batch), loss_and_grad(params, model, batch))


@pytest.mark.parametrize(("remat", "expected"), [("none", False), ("full", True), ("dots", True)])
def test_remat_is_really_on(batch, remat, expected):
    model = tiny.model(tiny.spec(), remat=remat)
    program = str(jax.make_jaxpr(lambda p: read_out.score_options(p, model, batch).logits_BQC)(tiny.params(model)))
    assert ("remat" in program or "checkpoint" in program) == expected


@pytest.mark.parametrize("layer", range(3))
def test_every_layer_matters(batch, layer):
    """A scan that ran one layer three times, or dropped one, would fail here."""
    model = tiny.model(tiny.spec())
    params = tiny.params(model)
    group, at = ("layers", layer) if layer < 2 else ("last_layer", ...)
    down = params["decoder"][group]["mlp"]["down"]
    down["kernel"] = down["kernel"].at[at].set(0.0)
    changed = scores(params, model, batch)[0].logits_BQC
    original = scores(tiny.params(model), model, batch)[0].logits_BQC
    exists = np.asarray(batch.asks.option_ids_BQCW[..., 0] >= 0)
    assert np.abs(np.asarray(changed - original))[exists].max() > 1e-2


@pytest.mark.parametrize("changes", [{}, {"family": "mistral", "sliding_window": 5, "tied_embeddings": False}])
@pytest.mark.parametrize("shared", [0, 6])
def test_packed_equals_separate(changes, shared):
    """Loss, gradients and scores of packed rows, with a beginning that is held once, equal one question a row."""
    model = tiny.model(tiny.spec(**changes))
    params = tiny.params(model)
    rng = np.random.default_rng(2)
    asked = tiny.questions(rng, 5, 97)
    prefix = rng.integers(0, 97, shared)
    packed = tiny.lay_out([asked[:3], asked[3:]], length=64, slots=3, shared=prefix)
    whole = [q | {"tokens": np.concatenate([prefix, q["tokens"]])} for q in asked]
    separate = tiny.lay_out([[q] for q in whole], length=40, slots=1)
    assert_same(loss_and_grad(params, model, packed), loss_and_grad(params, model, separate), rtol=1e-5)
    filled = packed.asks.weights_BQ > 0
    for a, b in zip(
        jax.tree.leaves(scores(params, model, packed)),
        jax.tree.leaves(scores(params, model, separate)),
        strict=True,
    ):
        np.testing.assert_allclose(np.asarray(a)[filled], np.asarray(b)[:, 0], atol=1e-5)


def test_padding_changes_nothing(batch):
    model = tiny.model(tiny.spec())
    params = tiny.params(model)
    asked = tiny.questions(np.random.default_rng(0), 6, 97)
    longer = tiny.lay_out([asked[:3], asked[3:], []], length=80, slots=7)
    assert_same(loss_and_grad(params, model, longer), loss_and_grad(params, model, batch), rtol=1e-5)


def test_the_future_cannot_reach_the_past():
    model = tiny.model(tiny.spec())
    params = tiny.params(model)
    tokens = np.random.default_rng(3).integers(0, 97, (1, 20))
    other = tokens.copy()
    other[0, 12:] = (other[0, 12:] + 1) % 97
    logits = jax.jit(read_out.vocabulary_logits, static_argnums=1)
    a, b = (np.asarray(logits(params, model, jnp.asarray(t))) for t in (tokens, other))
    np.testing.assert_array_equal(a[0, :12], b[0, :12])
    assert np.abs(a[0, 12:] - b[0, 12:]).max() > 1e-3


def test_no_array_over_positions_and_vocabulary(batch):
    """Neither training nor scoring makes [.., T, V]; training does not even make [.., Q, V]."""
    model = tiny.model(tiny.spec(vocab=1013))
    params = tiny.params(model)

    def shapes(f) -> set[tuple[int, ...]]:
        text = jax.jit(f).lower(params).compile().as_text()
        return {tuple(map(int, dims.split(","))) for dims in re.findall(r"\w+\[([\d,]+)\]", text)}

    B, T, Q = *batch.tokens.tokens_BT.shape, batch.asks.read_BA.shape[1]
    train = shapes(lambda p: loss_and_grad(p, model, batch))
    score = shapes(lambda p: tiny.options_and_mass(p, model, batch))
    with_vocabulary = {s for s in train if 1013 in s}
    assert with_vocabulary <= {(1013, 32), (32, 1013)}, with_vocabulary
    assert not {s for s in score if 1013 in s and (T in s or B * T in s)}
    assert any(1013 in s and B * Q in s for s in score)


def test_bfloat16_stays_close_and_scores_in_float32(batch):
    model = tiny.model(tiny.spec())
    params = tiny.params(model, scale=0.05)
    exact, _ = scores(params, model, batch)
    rough, _ = scores(params, tiny.model(model.spec, dtype="bfloat16"), batch)
    assert rough.logits_BQC.dtype == jnp.float32
    exists = np.asarray(batch.asks.option_ids_BQCW[..., 0] >= 0)
    difference = np.abs(np.asarray(exact.logits_BQC - rough.logits_BQC))[exists]
    assert 0 < difference.max() < 0.05
