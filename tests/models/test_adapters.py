"""Adapters in the decoder: they change what they should, are trained alone, and cost what they should."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from moral_jax.config import Config
from moral_jax.config.model import PROJECTIONS, AdapterConfig
from moral_jax.config.train import OptimConfig
from moral_jax.models import adapters, api, parameters
from moral_jax.objectives import OBJECTIVES
from moral_jax.plan import hlo
from moral_jax.train import optim, step
from moral_jax.types import UserError
from moral_jax.workflows.local_model import make_model
from tests.helpers import tiny
from tests.models.test_decoder import assert_same, loss_and_grad, scores

LORA = AdapterConfig(kind="lora", rank=4, alpha=8.0)
DORA = dataclasses.replace(LORA, kind="dora")
TX = optim.make(OptimConfig(lr=1e-2, warmup=0.0), 10)


def flat(tree):
    return traverse_util.flatten_dict(tree, sep="/")


@pytest.fixture(scope="module")
def batch():
    asked = tiny.questions(np.random.default_rng(0), 6, 97)
    return tiny.lay_out([asked[:3], asked[3:]], length=48, slots=4)


def test_fresh_adapters_change_no_bit(batch):
    model = tiny.model(tiny.spec(), adapter=LORA)
    params = api.init_heads_and_adapters(tiny.params(model)["decoder"], model, seed=0)
    bare = {name: tree for name, tree in params.items() if name != "adapters"}
    want, got = (scores(p, model, batch) for p in (bare, params))
    jax.tree.map(np.testing.assert_array_equal, got, want)
    bumped = params | {"adapters": jax.tree.map(lambda x: x + 0.05, params["adapters"])}
    assert np.abs(scores(bumped, model, batch)[0].logits_BQC - want[0].logits_BQC).max() > 1e-3


def test_fresh_a_is_drawn_as_peft_draws_it():
    """Uniform in +-1 / sqrt(in), whatever the rank; the inputs of `down` are not those of `gate`."""
    model = tiny.model(tiny.spec(width=64, mlp_width=256), adapter=AdapterConfig(kind="lora", rank=16))
    made = flat(api.random_params(model, 0)["adapters"])
    for name, inputs in {"gate": 64, "down": 256}.items():
        a = made[f"layers/mlp/{name}/a"]
        assert a.shape == (2, inputs, 16)
        assert 0.97 / math.sqrt(inputs) < np.abs(a).max() <= 1 / math.sqrt(inputs)
        assert a.std() == pytest.approx(1 / math.sqrt(3 * inputs), rel=0.03)
    assert not made["layers/mlp/gate/b"].any()
    assert not np.array_equal(made["layers/mlp/gate/a"], made["layers/mlp/up/a"])
    assert all(leaf.dtype == jnp.float32 for leaf in made.values())


@pytest.mark.parametrize("scaling", ["rank", "sqrt_rank"])
def test_by_hand(scaling):
    """y = x W + alpha / r (x a) b, or alpha / sqrt(r)."""
    rng = np.random.default_rng(0)
    x, w, a, b = (rng.normal(size=s).astype(np.float32) for s in ((5, 6), (6, 7), (6, 4), (4, 7)))
    config = AdapterConfig(kind="lora", rank=4, alpha=8.0, scaling=scaling)
    adapter = adapters.scaled({"a": a, "b": b}, config)
    want = x @ w + {"rank": 2.0, "sqrt_rank": 4.0}[scaling] * (x @ a) @ b
    np.testing.assert_allclose(adapters.add(x @ w, x, w, adapter, "float32"), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(x @ adapters.merged(w, adapter), want, rtol=1e-4, atol=1e-5)


def test_fresh_dora_changes_nothing_but_rounding(batch):
    model = tiny.model(tiny.spec(), adapter=DORA)
    params = api.init_heads_and_adapters(tiny.params(model)["decoder"], model, seed=0)
    bare = {name: tree for name, tree in params.items() if name != "adapters"}
    assert_same(scores(params, model, batch), scores(bare, model, batch), rtol=1e-6)


def test_dora_by_hand():
    """Every output's weights are turned by the low-rank product and made as long as the magnitude says; for the
    gradient, their own length is a constant."""
    rng = np.random.default_rng(0)
    x, w, a, b, m = (rng.normal(size=s).astype(np.float32) for s in ((5, 6), (6, 7), (6, 4), (4, 7), (7,)))
    whole = w + a @ b
    length = np.sqrt((whole**2).sum(0))
    want = x @ (whole / length * m)
    adapter = {"a": a, "b": b, "magnitude": m}
    np.testing.assert_allclose(adapters.add(x @ w, x, w, adapter, "float32"), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(x @ adapters.merged(w, adapter), want, rtol=1e-4, atol=1e-5)
    grad = jax.grad(lambda b: adapters.add(x @ w, x, w, adapter | {"b": b}, "float32").sum())(b)
    np.testing.assert_allclose(grad, (x @ a).sum(0)[:, None] * (m / length), rtol=1e-4, atol=1e-5)


def test_dora_of_an_output_without_weights_is_zero():
    w = np.ones((6, 7), np.float32)
    w[:, 3] = 0
    adapter = {"a": np.ones((6, 4), np.float32), "b": np.zeros((4, 7), np.float32), "magnitude": adapters._lengths(w)}
    y = adapters.add(w, np.eye(6, dtype=np.float32), w, adapter, "float32")
    np.testing.assert_allclose(y, w, rtol=1e-6)


@pytest.mark.parametrize("adapter", [LORA, DORA], ids=["lora", "dora"])
def test_only_adapters_and_head_are_trained(batch, adapter):
    """The gradient, the moments, and what a step changes."""
    model = tiny.model(tiny.spec(), adapter=adapter, concentration="predicted", param_dtype="bfloat16")
    frozen, trained = api.split(tiny.params(model), model)
    assert set(frozen) == {"decoder"}
    assert {str(x.dtype) for x in jax.tree.leaves(frozen)} == {"bfloat16"}
    before = jax.device_get((frozen, trained))
    state = step.init_state(trained, model, TX)
    sizes = {leaf.shape for leaf in jax.tree.leaves(state.opt_state)}
    assert sizes <= {leaf.shape for leaf in jax.tree.leaves(trained)} | {()}
    floats = [x for x in jax.tree.leaves((state.params, state.opt_state)) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert {str(x.dtype) for x in floats} == {"float32"}
    take = step.make_train_step(OBJECTIVES["dirichlet_multinomial"], model, TX)
    after, _ = take(state, frozen, step.split_micro_batches(batch, 1))
    jax.tree.map(np.testing.assert_array_equal, frozen, before[0])  # neither donated nor changed
    for path, leaf in flat(after.params).items():
        assert not np.array_equal(leaf, flat(before[1])[path]), path


def test_as_many_ranks_as_layers(batch):
    """An axis of layers taken for the rank's, or the other way round, would pass where their sizes differ."""
    model = tiny.model(tiny.spec(layers=3), adapter=dataclasses.replace(LORA, rank=2))
    params = tiny.params(model)
    assert flat(params["adapters"])["layers/attention/query/a"].shape == (2, 32, 2)
    merged = dict(flat(params["decoder"]))
    for entry in adapters.entries(model.spec, model.adapter):
        where = entry.path.removesuffix("/kernel")
        for layer in range(2) if entry.stacked else [...]:
            a, b = (np.asarray(flat(params["adapters"])[f"{where}/{x}"])[layer] for x in "ab")
            merged[entry.path] = merged[entry.path].at[layer].add(4.0 * a @ b)
    want = scores({"decoder": traverse_util.unflatten_dict(merged, sep="/"), "head": {}}, model, batch)
    assert_same(scores(params, model, batch), want)


@pytest.mark.parametrize(
    ("targets", "where"),
    [
        ("q_proj|v_proj", {"attention/query", "attention/value"}),
        ("down_proj", {"mlp/down"}),
        (".*_proj", {f"attention/{x}" for x in ("query", "key", "value", "out")} | {"mlp/gate", "mlp/up", "mlp/down"}),
        (".*", {f"attention/{x}" for x in ("query", "key", "value", "out")} | {"mlp/gate", "mlp/up", "mlp/down"}),
    ],
)
def test_targets(targets, where):
    model = tiny.model(tiny.spec(), adapter=AdapterConfig(kind="lora", targets=targets))
    paths = flat(api.abstract_params(model)["adapters"])
    assert set(paths) == {f"{group}/{w}/{x}" for group in ("layers", "last_layer") for w in where for x in "ab"}


def test_projections_are_the_names_of_all_maps():
    shapes = {}, {"fused": True}, {"family": "phi", "gated": False, "norms": "parallel"}
    entries = [e for shape in shapes for e in parameters.entries(tiny.spec(**shape))]
    fused = {"family": "modernbert", "fused": True, "gated": True}
    others = {}, {"family": "deberta-v2"}, fused
    entries += [e for shape in others for e in parameters.entries(tiny.encoder_spec(**shape))]
    names = [e.projection for e in entries if e.path.endswith("kernel")]
    assert tuple(dict.fromkeys(names)) == PROJECTIONS


@pytest.mark.parametrize("first", [1, 2])
def test_layers_below_the_first_have_none_and_count_all_the_same(batch, first):
    whole = tiny.model(tiny.spec(), adapter=LORA)
    params = tiny.params(whole)
    cut = tiny.model(tiny.spec(), adapter=dataclasses.replace(LORA, first_layer=first))
    decoder, beside = params["decoder"], params["adapters"]
    below = jax.tree.map(lambda x: x[:first], decoder["layers"])
    parts = {"decoder": decoder | {"frozen_layers": below}, "adapters": dict(beside), "head": {}}
    silent = params | {"adapters": beside | {"layers": jax.tree.map(lambda x: x.at[:first].set(0), beside["layers"])}}
    if first == 2:
        del parts["decoder"]["layers"], parts["adapters"]["layers"]
    else:
        parts["decoder"]["layers"], parts["adapters"]["layers"] = (
            jax.tree.map(lambda x: x[first:], tree["layers"]) for tree in (decoder, beside)
        )
    assert jax.tree.structure(parts) == jax.tree.structure(api.abstract_params(cut))
    assert_same(scores(parts, cut, batch), scores(silent, whole, batch), rtol=1e-6)


@pytest.mark.parametrize(("adapter", "change"), [(LORA, {"unroll": 3}), (DORA, {"unroll": 3, "remat": "full"})])
def test_scan_unrolled_and_remat_agree(batch, adapter, change):
    model = tiny.model(tiny.spec(), adapter=adapter)
    params = tiny.params(model)
    changed = tiny.model(model.spec, adapter=adapter, **change)
    assert_same(loss_and_grad(params, changed, batch), loss_and_grad(params, model, batch))


def test_packed_equals_separate():
    model = tiny.model(tiny.spec(), adapter=LORA)
    params = tiny.params(model)
    asked = tiny.questions(np.random.default_rng(2), 5, 97)
    packed = tiny.lay_out([asked[:3], asked[3:]], length=48, slots=3)
    separate = tiny.lay_out([[q] for q in asked], length=24, slots=1)
    assert_same(loss_and_grad(params, model, packed), loss_and_grad(params, model, separate), rtol=1e-5)


@functools.cache
def products(layers: int, adapter: AdapterConfig) -> float:
    """FLOPs of the products in a compiled gradient, all layers unrolled."""
    model = tiny.model(tiny.spec(layers=layers, width=64, mlp_width=256), adapter=adapter, unroll=layers)
    asked = tiny.questions(np.random.default_rng(0), 3, 97)
    batch = step.split_micro_batches(tiny.lay_out([asked], length=48, slots=3), 1)
    frozen, trained = api.split(api.abstract_params(model), model)
    grads = jax.jit(lambda *of: step.gradients(OBJECTIVES["soft_cross_entropy"], model, *of)[0])
    return hlo.count(grads.lower(trained, frozen, batch).compile().as_text()).flops


def test_no_gradient_is_computed_for_frozen_weights_nor_below_the_first_layer():
    """Per weight and token 2 forward, 2 for the input's gradient, 2 for the weight's. A smaller model's taken away
    leaves what one layer in the middle costs."""
    rank_1 = AdapterConfig(kind="lora", rank=1)
    full = products(3, AdapterConfig()) - products(2, AdapterConfig())
    lora = products(3, rank_1) - products(2, rank_1)
    frozen = products(3, dataclasses.replace(rank_1, first_layer=1)) - products(2, rank_1)
    assert full / 6 * 4 < lora < full / 6 * 4.4
    assert full / 6 * 1.95 < frozen < full / 6 * 2.05


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"kind": "lora", "targets": "q"},
            r"adapter.targets='q': expected .* that matches some of q_proj",
        ),
        ({"kind": "lora", "targets": "("}, r"adapter.targets='\(': expected a regular expression"),
        ({"kind": "lora", "rank": 0}, "adapter.rank=0: expected at least 1"),
        ({"kind": "full"}, "adapter.kind='full': expected 'none' or 'lora' or 'dora'"),
        ({"first_layer": 2}, "adapter.first_layer=2: expected none without an adapter"),
        ({"path": "x"}, "adapter.path='x': expected none without an adapter"),
    ],
)
def test_settings_that_cannot_be(values, message):
    with pytest.raises(UserError, match=message):
        AdapterConfig(**values)


def test_some_layer_must_have_adapters():
    config = Config(adapter=dataclasses.replace(LORA, first_layer=3))
    with pytest.raises(UserError, match="config.adapter.first_layer=3: the model has 3 layers; expected less"):
        make_model(config, tiny.spec(), tiny.mesh(1, 1, 1))
