"""Logits against transformers + torch in float32: every family, every switch, more than 500 tokens."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from moral_jax.models import api, read_out
from moral_jax.models.decoder import Decoder
from moral_jax.models.rope import Llama3Scaling
from moral_jax.models.spec import layer_groups
from moral_jax.types import Tokens
from moral_jax.weights import load
from tests.helpers import tiny

torch = pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")
transformers = pytest.importorskip("transformers")

TOKENS = 520
FAMILIES = {
    "llama 2: untied, all heads alike": {"heads": 4, "kv_heads": 4, "head_size": 8, "tied_embeddings": False},
    "llama 3: grouped heads, large theta": {"rope_theta": 5e5, "tied_embeddings": False},
    "llama 3.1: scaled rope": {
        "rope_theta": 5e5,
        "head_size": 32,
        "rope_scaling": Llama3Scaling(8.0, 1.0, 4.0, 64),
        "tied_embeddings": False,
    },
    "smollm2: tied, three heads a group": {"width": 72, "heads": 9, "kv_heads": 3, "head_size": 8, "rope_theta": 1e5},
    "mistral v0.1: window shorter than the text": {
        "family": "mistral",
        "sliding_window": 100,
        "tied_embeddings": False,
    },
    "mistral v0.3, zephyr: no window, head size is not D / N": {"family": "mistral", "tied_embeddings": False},
}


@pytest.fixture(scope="module", params=FAMILIES, ids=[f.split(":")[0].replace(" ", "-") for f in FAMILIES])
def pair(request, tmp_path_factory):
    """A model that transformers made and saved, and what we load from its files."""
    of = tiny.spec(layers=3, **FAMILIES[request.param])
    folder = tmp_path_factory.mktemp("reference")
    config = transformers.AutoConfig.for_model(
        of.family, **{k: v for k, v in tiny.hf_config(of).items() if k != "model_type"}
    )
    torch.manual_seed(0)
    reference = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():  # initial weights are so small that attention would be flat
        for name, p in reference.named_parameters():
            p.normal_(1.0 if "norm" in name else 0.0, 0.1)
    reference.save_pretrained(folder)
    spec = load.read_spec(folder)
    model = tiny.model(spec, unroll=1)
    return reference, model, api.init_heads_and_adapters(tiny.load(folder, spec), model, 0), of, folder


def tokens(vocab: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, vocab, (1, TOKENS))


def test_the_config_says_the_same(pair):
    _, model, _, of, folder = pair
    assert model.spec == of
    assert json.loads((folder / "config.json").read_text())["model_type"] == of.family


def test_logits(pair):
    reference, model, params, of, _ = pair
    ids = tokens(of.vocab)
    with torch.no_grad():
        want = reference(torch.from_numpy(ids)).logits.numpy()
    got = jax.jit(read_out.vocabulary_logits, static_argnums=1)(params, model, jnp.asarray(ids))
    assert want.std() > 0.1
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)


def test_layer_by_layer(pair):
    """Where logits differ, this says from which layer on: the decoder cut after each layer."""
    reference, model, params, of, _ = pair
    ids = tokens(of.vocab)[:, :200]
    with torch.no_grad():
        states = reference.model(torch.from_numpy(ids), output_hidden_states=True).hidden_states
    one = jnp.ones(ids.shape, jnp.int32)
    here = jnp.arange(ids.shape[1])[None]
    rows = Tokens(jnp.asarray(ids), one, one + 1, here)
    for depth in range(1, of.layers):
        cut = tiny.cut(params["decoder"], depth)
        decoder = Decoder(tiny.spec(**{**vars(of), "layers": depth}), model.compute, layer_groups(depth, 0))
        got = jax.jit(lambda p, d=decoder: d.apply({"params": p}, rows, here))(cut)
        x = states[depth].numpy()
        normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + of.norm_eps)
        want = normed * np.asarray(params["decoder"]["final_norm"]["scale"])
        np.testing.assert_allclose(got, want, atol=1e-4, rtol=0, err_msg=f"after layer {depth}")


def test_every_tensor_of_the_file_is_read(pair):
    _, _, params, _, folder = pair
    count = sum(x.size for x in load_file(folder / "model.safetensors").values())
    assert sum(x.size for x in jax.tree.leaves(params["decoder"])) == count
