"""Every family of decoders against transformers in float32, and every property that the decoder promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")

import torch
from safetensors.numpy import load_file

from moral_jax.models import read_out
from moral_jax.weights import load
from tests.helpers import families, tiny

TOKENS = 520
logits = jax.jit(read_out.vocabulary_logits, static_argnums=1)


@pytest.fixture(params=families.DECODERS)
def of(request) -> families.Pair:
    return families.pair(request.param)


def tokens(length: int = TOKENS) -> np.ndarray:
    return np.random.default_rng(0).integers(3, 97, (1, length))


def first_layer_that_differs(of: families.Pair, ids: np.ndarray) -> str:
    """Compares the states after every layer but the last, before the final norm."""
    with torch.no_grad():
        states = of.theirs.model(torch.from_numpy(ids), output_hidden_states=True).hidden_states
    for depth in range(1, of.model.spec.layers):
        params = {"decoder": tiny.cut(of.params["decoder"], depth), "head": {}}
        spec = tiny.spec(**vars(of.model.spec) | {"layers": depth})
        norm = of.theirs.model.final_layernorm if hasattr(of.theirs.model, "final_layernorm") else of.theirs.model.norm
        with torch.no_grad():
            want = of.theirs.lm_head(norm(states[depth])).numpy()
        got = np.asarray(logits(params, tiny.model(spec), jnp.asarray(ids)))
        if spec.logit_softcap:
            want = spec.logit_softcap * np.tanh(want / spec.logit_softcap)
        if (most := np.abs(got - want).max()) > 1e-4:
            return f"after layer {depth} of {of.model.spec.layers}: {most:.2g}"
    return "in the last layer or behind it"


def test_logits(of):
    ids = tokens()
    want, got = of.logits(ids), np.asarray(logits(of.params, of.model, jnp.asarray(ids)))
    assert want.std() > 0.1
    if np.abs(got - want).max() > 1e-4:
        pytest.fail(f"differs first {first_layer_that_differs(of, ids)}; in logits {np.abs(got - want).max():.2g}")


def test_every_tensor_of_the_file_is_read(of):
    count = sum(x.size for x in load_file(of.folder / "model.safetensors").values())
    assert sum(x.size for x in jax.tree.leaves(of.params["decoder"])) == count


@pytest.mark.parametrize("kind", families.ROPES)
def test_rotary_scalings(kind, tmp_path):
    theirs = families.write({"model_type": "llama", "rope_parameters": families.ROPES[kind]}, tmp_path)
    spec, ids = load.read_spec(tmp_path), tokens()
    with torch.no_grad():
        want = theirs(torch.from_numpy(ids)).logits.numpy()
    got = logits({"decoder": tiny.load(tmp_path, spec), "head": {}}, tiny.model(spec), jnp.asarray(ids))
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)
