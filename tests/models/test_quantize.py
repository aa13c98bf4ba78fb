"""Quantised kernels: against a plain implementation, within their bounds, and in the decoder."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax.config import Config
from moral_jax.config.model import AdapterConfig, ModelConfig
from moral_jax.models import api, quantize
from moral_jax.objectives import OBJECTIVES
from moral_jax.train import step
from moral_jax.types import UserError
from moral_jax.weights.load import flat
from moral_jax.workflows.local_model import InitialParams, find_model, make_model
from tests.helpers import tiny
from tests.models.test_decoder import assert_same, scores

LORA = AdapterConfig(kind="lora", rank=4, alpha=8.0)
SPEC = {"width": 64, "mlp_width": 128, "head_size": 16}  # nf4 wants multiples of 64
KINDS = ("int8", "nf4")


def kernel(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.05, shape).astype(np.float32)


def plain_int8(w):
    scale = np.abs(w).max(0) / 127
    return np.rint(w / scale).astype(int), scale


def plain_nf4(w):
    """Block by block, number by number."""
    codes, absmax = np.zeros(w.shape, int), np.zeros((w.shape[0] // 64, w.shape[1]))
    for column in range(w.shape[1]):
        for block in range(len(absmax)):
            part = w[64 * block : 64 * (block + 1), column]
            absmax[block, column] = np.abs(part).max()
            shares = part / absmax[block, column]
            codes[64 * block : 64 * (block + 1), column] = np.abs(shares[:, None] - np.array(quantize.NF4)).argmin(1)
    return codes, absmax


def test_int8_is_the_plain_one():
    w = kernel(96, 10)
    codes, scale = plain_int8(w)
    got = quantize.int8(w)
    np.testing.assert_array_equal(got["int8"], codes)
    np.testing.assert_allclose(got["scale"], scale, rtol=1e-6)
    np.testing.assert_allclose(quantize.restored(got, "float32"), codes * scale, rtol=1e-6)


def test_nf4_is_the_plain_one():
    w = kernel(192, 10)
    codes, absmax = plain_nf4(w)
    got = quantize.nf4(w)
    assert (got["nf4"].shape, got["nf4"].dtype) == ((96, 10), jnp.uint8)
    np.testing.assert_array_equal(got["nf4"], codes[::2] + 16 * codes[1::2])
    np.testing.assert_allclose(got["absmax"], absmax)
    want = np.array(quantize.NF4)[codes] * absmax.repeat(64, 0)
    np.testing.assert_allclose(quantize.restored(got, "float32"), want, rtol=1e-6)


def test_the_code_book_is_that_of_the_paper():
    """Appendix E: quantiles of the normal distribution, 8 of its positive and 7 of its negative half, and zero, scaled
    into [-1, 1]."""
    from scipy.stats import norm

    end = (1 - 1 / 32 + 1 - 1 / 30) / 2
    upper, lower = norm.ppf(np.linspace(end, 0.5, 9)[:-1]), -norm.ppf(np.linspace(end, 0.5, 8)[:-1])
    want = np.sort(np.concatenate([upper, [0], lower]))
    np.testing.assert_allclose(quantize.NF4, want / want.max(), atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 5), (3, 128, 6)])
def test_errors_are_at_most_half_a_step(shape):
    w = kernel(*shape)
    error = np.abs(np.asarray(quantize.restored(quantize.int8(w), "float32")) - w)
    assert (error <= np.abs(w).max(-2, keepdims=True) / 127 / 2 * 1.0001).all()
    error = np.abs(np.asarray(quantize.restored(quantize.nf4(w), "float32")) - w)
    blocks = np.abs(w).reshape(*shape[:-2], -1, 64, shape[-1]).max(-2)
    assert (error <= blocks.repeat(64, -2) * np.diff(quantize.NF4).max() / 2 * 1.0001).all()
    assert error.mean() < 0.1 * np.abs(w).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_stay_zeros(kind):
    w = kernel(128, 4)
    w[:, 2] = 0
    got = np.asarray(quantize.restored(quantize.PACK[kind](w), "float32"))
    assert np.isfinite(got).all()
    assert not got[:, 2].any()


@pytest.fixture(scope="module")
def batch():
    asked = tiny.questions(np.random.default_rng(0), 6, 97)
    return tiny.lay_out([asked[:3], asked[3:]], length=48, slots=4)


def model_of(kind, **changes):
    return tiny.model(tiny.spec(**SPEC), quantize=kind, adapter=LORA, **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_computes_with_what_the_codes_stand_for(batch, kind):
    params = tiny.params(model_of(kind))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), params) == jax.tree.map(
        lambda x: (x.shape, x.dtype), api.abstract_params(model_of(kind))
    )
    is_packed = lambda x: isinstance(x, dict) and (kind in x)  # noqa: E731
    plain = jax.tree.map(
        lambda x: quantize.restored(x, "float32") if is_packed(x) else x, params["decoder"], is_leaf=is_packed
    )
    want = scores(params | {"decoder": plain}, model_of("none"), batch)
    assert_same(scores(params, model_of(kind), batch), want, rtol=1e-6)
    exact = scores(tiny.params(model_of("none")), model_of("none"), batch)[0].logits_BQC
    assert np.abs(exact - want[0].logits_BQC).max() > 1e-3


@pytest.mark.parametrize("remat", ["none", "dots", "full"])
def test_no_kernel_is_kept_restored(batch, remat):
    """The backward pass restores each layer's kernels again; those of all layers together are nowhere."""
    model = model_of("nf4", remat=remat)
    frozen, trained = api.split(api.abstract_params(model), model)
    gradients = jax.jit(lambda *of: step.gradients(OBJECTIVES["soft_cross_entropy"], model, *of))
    text = gradients.lower(trained, frozen, step.split_micro_batches(batch, 2)).compile().as_text()
    shapes = set(re.findall(r"f32\[([\d,]+)\]", text))
    assert "64,128" in shapes
    assert "2,64,128" not in shapes


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What a run loads of one file, by how it is to be kept."""
    folder = tiny.write_folder(tmp_path_factory.mktemp("model"), **SPEC)

    @functools.cache
    def frozen(kind):
        adapter = AdapterConfig(kind="lora", first_layer=1)
        config = Config(model=ModelConfig(path=str(folder), product_dtype="float32", quantize=kind), adapter=adapter)
        return flat(InitialParams(config, find_model(config)).frozen["decoder"])

    return frozen


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_quantised_while_it_is_loaded(kind, loaded):
    got, pack = dict(loaded(kind)), jax.jit(quantize.PACK[kind])
    for path, leaf in loaded("none").items():
        want = pack(leaf) if path.endswith("/kernel") else leaf
        for name, part in flat({path: want}).items():
            np.testing.assert_array_equal(got.pop(name), part, err_msg=name)
    assert not got


def test_quantised_weights_cannot_be_trained():
    with pytest.raises(UserError, match="config.model.quantize='int8': expected 'none', because quantised weights can"):
        Config(model=ModelConfig(quantize="int8"))


def test_nf4_wants_whole_blocks():
    config = Config(model=ModelConfig(quantize="nf4"), adapter=LORA)
    with pytest.raises(UserError, match="config.model.quantize='nf4': needs a multiple of 64 inputs.* width is 32"):
        make_model(config, tiny.spec(), tiny.mesh(1, 1, 1))
