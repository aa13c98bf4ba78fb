"""Products with rounded operands: what they round, forward and backward, and when they are chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax import objectives
from moral_jax.config.model import AdapterConfig
from moral_jax.models import api, read_out
from moral_jax.models import product as products
from moral_jax.models.attention import plain_attention
from moral_jax.models.product import arithmetic, product
from moral_jax.models.spec import AttentionPattern, ComputeOptions
from moral_jax.types import Tokens
from tests.helpers import texts, tiny


def bf16(x):
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32), np.float64)


@pytest.mark.parametrize("shape", [((7, 12), (12, 5)), ((2, 3, 7, 12), (2, 3, 12, 5))])
def test_operands_are_rounded_and_sums_are_not(shape):
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=s).astype(np.float32) for s in shape)
    y, back = jax.vjp(jax.jit(lambda x, w: product(x, w, "bfloat16")), x, w)
    g = rng.normal(size=y.shape).astype(np.float32)
    dx, dw = back(g)
    np.testing.assert_allclose(y, bf16(x) @ bf16(w), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, bf16(g) @ bf16(w).swapaxes(-1, -2), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dw, bf16(x).swapaxes(-1, -2) @ bf16(g), rtol=1e-5, atol=1e-5)
    assert {y.dtype, dx.dtype, dw.dtype} == {jnp.dtype("float32")}
    exact = product(x, w, "float32")
    assert 1e-4 < np.abs(exact - y).max() < 0.1


@pytest.mark.parametrize(
    ("product_dtype", "adapter", "rounded"),
    [("bfloat16", "none", True), ("float32", "none", False), ("bfloat16", "lora", True), ("bfloat16", "dora", False)],
)
def test_kernels_that_are_rounded_once_give_the_same_scores(product_dtype, adapter, rounded):
    """DoRA's are not: it takes their lengths too."""
    of = tiny.spec()
    model = tiny.model(of, product_dtype=product_dtype, adapter=AdapterConfig(kind=adapter, rank=2))
    params, rng = tiny.params(model), np.random.default_rng(0)
    batch = tiny.lay_out([tiny.questions(rng, 3, of.vocab)], 64, 4)
    ready = api.cast_for_scoring(params, model)
    assert (tiny.layer(ready["decoder"], 0)["mlp"]["gate"]["kernel"].dtype == jnp.bfloat16) == rounded
    loaded = api.abstract_loaded(model, trained=False)
    assert jax.tree.map(lambda x: x.dtype, loaded) == jax.tree.map(lambda x: x.dtype, ready["decoder"])
    assert ready["decoder"]["embedding"].dtype == jnp.float32
    score = jax.jit(tiny.options_and_mass, static_argnums=1)
    jax.tree.map(np.testing.assert_array_equal, score(params, model, batch), score(ready, model, batch))


def test_no_product_of_transposed_operands_is_left_to_the_compiler():
    """The key's gradient is a sum of products, over blocks of queries, that is transposed next."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 16, 2, 8)).astype(np.float32) for _ in range(3))
    places = Tokens(None, *jnp.zeros((3, 2, 16), jnp.int32))
    how = ComputeOptions(mesh=tiny.mesh(1, 1, 1), dtype="float32", product_dtype="bfloat16")

    def loss(qkv):
        return jnp.sum(plain_attention(*qkv, places, AttentionPattern(causal=False, window=None), how, block=8) ** 2)

    text = jax.jit(jax.grad(loss)).lower((q, k, v)).compile().as_text()
    rounded = [line for line in text.splitlines() if " dot(" in line]
    assert rounded
    assert all("lhs_contracting_dims={3}" in line and "rhs_contracting_dims={2}" in line for line in rounded), rounded


def test_bfloat16_activations_stay_what_they_are():
    x = jnp.ones((4, 8), jnp.bfloat16)
    for kind in ("float32", "bfloat16"):
        assert product(x, jnp.ones((8, 2), jnp.float32), kind).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("cpu", "version", "fast"),
    [
        ("avx512f avx512_bf16", "0.10.2", True),
        ("avx512f avx512_bf16 amx_bf16", "0.10.2", False),
        ("avx512f avx512_bf16 amx_bf16", "0.12.0.1", True),
        ("avx512f amx_bf16", "1.0.0rc1", True),
        ("avx512f", "0.12.0", False),
    ],
)
def test_a_cpu_that_is_fast_in_bfloat16_is_known(cpu, version, fast):
    assert products.is_fast_in_bf16(f"flags : {cpu} avx2", version) == fast


@pytest.mark.parametrize(
    ("asked", "platform", "fast", "want"),
    [
        ((None, None), "tpu", False, ("bfloat16", "bfloat16")),
        ((None, None), "tpu", True, ("bfloat16", "bfloat16")),
        ((None, None), "cpu", False, ("float32", "float32")),
        ((None, None), "cpu", True, ("float32", "bfloat16")),
        (("float32", None), "cpu", True, ("float32", "float32")),
        ((None, "float32"), "cpu", True, ("float32", "float32")),
        (("float32", None), "gpu", False, ("float32", "float32")),
        (("float32", "bfloat16"), "cpu", False, ("float32", "bfloat16")),
    ],
)
def test_arithmetic_is_chosen_by_platform_and_config(asked, platform, fast, want, monkeypatch):
    monkeypatch.setattr(products, "is_fast_in_bf16", lambda *_: fast)
    assert arithmetic(*asked, platform) == want


def products_of(jaxpr):
    """All `dot_general` in a program and in what it calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(inner, "eqns"):
                yield from products_of(inner)


def asked_of(kind):
    """A tiny model of a kind, the loss of its objective, and a batch."""
    rng = np.random.default_rng(0)
    dora = AdapterConfig(kind="dora", rank=2)
    if kind == "texts":
        return tiny.model(tiny.spec(), adapter=dora), "sft", texts.batches(texts.questions(0, 3, 1), 1, 64)[0]
    if kind == "labels":
        model = tiny.model(tiny.spec(), adapter=dora, concentration="predicted")
        return model, "dirichlet_multinomial", tiny.lay_out([tiny.questions(rng, 3, model.spec.vocab)], 64, 4)
    model = tiny.model(tiny.encoder_spec() if kind == "encoder" else tiny.spec(), score_rows=1)
    rows = [tiny.each(rng, 2, model.spec.vocab)]
    return model, "soft_cross_entropy", tiny.lay_out(rows, 64, 2, is_encoder=kind == "encoder")


@pytest.mark.parametrize("kind", ["labels", "score head", "encoder", "texts"])
def test_what_is_float32_is_multiplied_as_float32(kind):
    """Forward and backward, adapters and heads too: by default a TPU would round the operands to bfloat16."""
    model, objective, batch = asked_of(kind)
    frozen, trained = api.split(tiny.params(model), model)

    def loss(trained):
        read = read_out.read_out(frozen | trained, model, batch)
        mass = read.log_option_mass(read.options())
        return objectives.get(objective).loss(read, batch)["loss"][0] + (0.0 if mass is None else mass.sum())

    found = list(products_of(jax.make_jaxpr(jax.grad(loss))(trained).jaxpr))
    assert len(found) > 20
    for equation in found:
        assert {x.aval.dtype for x in equation.invars} == {jnp.dtype("float32")}
        assert equation.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2, equation


def test_scores_of_attention_are_not_rounded():
    """Two keys whose scores with the query, 40.0 and 40.06, are one number in bfloat16."""
    q = jnp.zeros((1, 2, 1, 4), jnp.bfloat16).at[0, :, 0, :2].set(jnp.bfloat16([8.0, 0.125]))
    k = jnp.zeros((1, 2, 1, 4), jnp.bfloat16).at[0, :, 0, 0].set(10.0).at[0, 1, 0, 1].set(1.0)
    v = jnp.zeros((1, 2, 1, 4), jnp.bfloat16).at[0, 1, 0, 0].set(1.0)
    places = Tokens(None, *jnp.array([[[0, 0]], [[1, 1]], [[0, 1]]]))
    how = ComputeOptions(mesh=tiny.mesh(1, 1, 1), dtype="bfloat16", product_dtype="bfloat16")
    out = plain_attention(q, k, v, places, AttentionPattern(True, None), how)
    assert float(out[0, 1, 0, 0]) == pytest.approx(1 / (1 + np.exp(-0.125 / 2)), abs=0.003)
