"""GGUF files of each architecture, as llama.cpp's converters write them: read by us as the folder they come from, and
by transformers as by us."""

import dataclasses

import gguf
import jax
import numpy as np
import pytest

from moral_jax.models import parameters
from moral_jax.models.families import from_hf
from moral_jax.models.rope import LinearScaling, LongScaling
from moral_jax.weights import load
from tests.helpers import tiny
from tests.weights import by_hand
from tests.weights.test_gguf import halves_to_interleaved

torch = pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate", reason="transformers needs it to read GGUF; [test] installs it")
families = pytest.importorskip("tests.helpers.families")

ARCHITECTURES = {
    "Mistral Nemo, Small": "llama",
    "Qwen2, Qwen2.5": "qwen2",
    "Qwen3": "qwen3",
    "Phi-2": "phi2",
    "Phi-3.5, Phi-4-mini": "phi3",
    "Gemma 2": "gemma2",
    "Gemma 3": "gemma3",
    "OLMo 2": "olmo2",
    "SmolLM3": "smollm3",
}
# what llama.cpp knows and files do not say, where the tiny model has something else
KNOWN = {"gemma2": {"query_pre_attn_scalar": 32}, "gemma3": {"query_pre_attn_scalar": 32, "sliding_window_pattern": 6}}
READ_BY_TRANSFORMERS = [n for n, a in ARCHITECTURES.items() if a in ("llama", "qwen2", "qwen3", "gemma2", "gemma3")]


def metadata(writer: gguf.GGUFWriter, spec) -> None:
    window, turn = spec.kinds[0].window, spec.kinds[-1].rope or spec.kinds[0].rope
    writer.add_block_count(spec.layers)
    writer.add_vocab_size(spec.vocab)
    writer.add_context_length(8192 if spec.family == "phi3" else spec.max_positions)
    writer.add_embedding_length(spec.width)
    writer.add_feed_forward_length(spec.mlp_width)
    writer.add_head_count(spec.heads)
    writer.add_head_count_kv(spec.kv_heads)
    writer.add_rope_freq_base(turn.theta)
    if spec.head_size * spec.heads != spec.width:
        writer.add_key_length(spec.head_size)
        writer.add_value_length(spec.head_size)
    (writer.add_layer_norm_eps if spec.norm == "layer" else writer.add_layer_norm_rms_eps)(spec.norm_eps)
    if spec.family in ("llama", "mistral", "phi", "phi3"):
        writer.add_rope_dimension_count(turn.size)
    if window:
        writer.add_sliding_window(window)
    if spec.score_softcap:
        writer.add_attn_logit_softcapping(spec.score_softcap)
        writer.add_final_logit_softcapping(spec.logit_softcap)
    if isinstance(turn.scaling, LinearScaling):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(turn.scaling.factor)
    if isinstance(turn.scaling, LongScaling):
        writer.add_rope_scaling_orig_ctx_len(spec.max_positions)
        writer.add_rope_scaling_attn_factors(turn.scaling.magnitude)
        writer.add_tensor("rope_factors_short.weight", np.array(turn.scaling.divisors, np.float32))
        writer.add_tensor("rope_factors_long.weight", np.array(turn.scaling.divisors, np.float32) + 1)


def write(path, architecture, spec, decoder):
    writer = gguf.GGUFWriter(path, architecture)
    metadata(writer, spec)
    tensors = tiny.hf_tensors(spec, decoder)
    for entry in parameters.entries(spec):
        for layer in entry.layers or [0]:
            x = tensors[entry.hf.format(layer)].astype(np.float32) + entry.offset
            if entry.rope_heads:
                x = halves_to_interleaved(x.reshape(len(x), -1), getattr(spec, entry.rope_heads)).reshape(x.shape)
            writer.add_tensor(entry.gguf.format(layer), x)
    by_hand.finish(writer)
    return path


def file_of(name, folder):
    """Returns a file, and the spec and the parameters that should be read from it."""
    architecture, of = ARCHITECTURES[name], families.pair(name)
    config = load.read_config(of.folder) | KNOWN.get(architecture, {})
    if architecture in KNOWN:
        config.pop("layer_types")
    if architecture == "smollm3":
        config |= {"no_rope_layers": None, "no_rope_layer_interval": 4}
    spec = dataclasses.replace(from_hf(config), norm_eps=float(np.float32(of.model.spec.norm_eps)))
    path = write(folder / "m.gguf", architecture, spec, of.params["decoder"])
    return path, spec, of.params


def rounded(spec):
    """What metadata holds as float32."""

    def of_rope(rope):
        s = rope and rope.scaling
        if not isinstance(s, LongScaling):
            return rope
        s = LongScaling(tuple(float(np.float32(x)) for x in s.divisors), float(np.float32(s.magnitude)))
        return dataclasses.replace(rope, scaling=s)

    return dataclasses.replace(spec, kinds=tuple(kind._replace(rope=of_rope(kind.rope)) for kind in spec.kinds))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_is_read(name, tmp_path):
    path, spec, params = file_of(name, tmp_path)
    family = "llama" if spec.family == "mistral" else spec.family  # they differ by the window alone
    assert load.read_spec(path) == dataclasses.replace(rounded(spec), family=family)
    loaded = tiny.load(path, spec)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=0), loaded, params["decoder"])


@pytest.mark.parametrize("name", READ_BY_TRANSFORMERS)
def test_transformers_reads_the_same(name, tmp_path):
    """Its reader takes the tensors apart. The config is ours, because its own leaves out caps and heads' sizes."""
    path, spec, _ = file_of(name, tmp_path)
    config = transformers.AutoConfig.for_model(**load.read_config(path))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, config=config, dtype=torch.float32, attn_implementation="eager"
    )
    ids = np.random.default_rng(0).integers(3, 97, (1, 150))
    with torch.no_grad():
        want = theirs.eval()(torch.from_numpy(ids)).logits.numpy()
    params = {"decoder": tiny.load(path, spec), "head": {}}
    np.testing.assert_allclose(families.logits(params, tiny.model(spec), ids), want, atol=1e-4, rtol=0)
