"""GGUF files that the gguf package writes, read back by us."""

import dataclasses

import gguf
import jax
import numpy as np
import pytest

from moral_jax.models import parameters
from moral_jax.models.rope import LinearScaling, Llama3Scaling, YarnScaling
from moral_jax.types import UserError
from moral_jax.weights import gguf as ours
from moral_jax.weights import load
from moral_jax.workflows.provenance import weight_hashes
from tests.helpers import tiny
from tests.weights import by_hand

# widths are multiples of 256, the block of the K types
SPEC = tiny.spec(vocab=64, layers=2, width=256, heads=4, kv_heads=2, head_size=64, mlp_width=256)
SPEC = dataclasses.replace(SPEC, norm_eps=float(np.float32(1e-5)))  # what GGUF can hold


def halves_to_interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """What llama.cpp's converter does to query and key rows."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def write(path, spec, decoder, kind="F32", metadata=None, tensors=None):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(spec.layers)
    writer.add_context_length(spec.max_positions)
    writer.add_embedding_length(spec.width)
    writer.add_feed_forward_length(spec.mlp_width)
    writer.add_head_count(spec.heads)
    writer.add_head_count_kv(spec.kv_heads)
    writer.add_key_length(spec.head_size)
    writer.add_rope_freq_base(spec.kinds[0].rope.theta)
    writer.add_layer_norm_rms_eps(spec.norm_eps)
    for add in metadata or []:
        add(writer)
    out = tiny.hf_tensors(spec, decoder)
    quantum = gguf.GGMLQuantizationType[kind]
    for entry in parameters.entries(spec):
        for layer in entry.layers or [0]:
            x = out[entry.hf.format(layer)]
            if entry.rope_heads:
                x = halves_to_interleaved(x, getattr(spec, entry.rope_heads))
            if x.ndim == 1 or kind == "F32":
                writer.add_tensor(entry.gguf.format(layer), x.astype(np.float32))
            else:
                writer.add_tensor(entry.gguf.format(layer), gguf.quants.quantize(x, quantum), raw_dtype=quantum)
    for name, x in (tensors or {}).items():
        writer.add_tensor(name, x)
    by_hand.finish(writer)
    return path


@pytest.fixture(scope="module")
def decoder():
    return tiny.params(tiny.model(SPEC))["decoder"]


def test_reads_back_what_was_written(tmp_path, decoder):
    path = write(tmp_path / "m.gguf", SPEC, decoder)
    assert load.read_spec(path) == SPEC
    jax.tree.map(np.testing.assert_array_equal, tiny.load(path, SPEC), decoder)


@pytest.mark.parametrize(("kind", "error"), [("F16", 1e-3), ("Q8_0", 0.01), ("Q4_0", 0.2), ("Q4_1", 0.15)])
def test_quantised_types_come_back_close(tmp_path, decoder, kind, error):
    loaded = tiny.load(write(tmp_path / "m.gguf", SPEC, decoder, kind), SPEC)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(loaded), jax.tree.leaves(decoder), strict=True):
        relative = np.linalg.norm(a - b) / np.linalg.norm(b)
        is_matrix = path[-1].key != "scale"
        assert (0 < relative <= error) if is_matrix else relative == 0, path


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K"])
def test_k_types_are_read(tmp_path, kind):
    """The package writes no K types; a block whose scales are one and minima zero is decoded by hand."""
    quantum = gguf.GGMLQuantizationType[kind]
    size = gguf.GGML_QUANT_SIZES[quantum][1]
    block = np.zeros(size, np.uint8)
    if kind == "Q6_K":  # 128 low, 64 high, 16 scales, then d
        block[192:208] = 1
        block[208:] = np.frombuffer(np.float16(0.5).tobytes(), np.uint8)
        want = np.full(256, -32 * 0.5, np.float32)
    else:  # d, dmin, 12 bytes of scales and minima, then 128 nibble pairs
        block[:2] = np.frombuffer(np.float16(0.5).tobytes(), np.uint8)
        block[4:8] = 1
        block[12:16] = 1
        block[16:] = 0x33
        want = np.full(256, 3 * 0.5, np.float32)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("x", block[None], raw_dtype=quantum)
    by_hand.finish(writer)
    np.testing.assert_array_equal(ours.GgufFile(tmp_path / "m.gguf").read("x", (slice(None), slice(None))), want[None])


def test_an_unreadable_type_is_named(tmp_path, decoder):
    path = write(tmp_path / "m.gguf", SPEC, decoder, tensors={"counts": np.ones(4, np.int32)})
    with pytest.raises(UserError, match=r"'counts' is I32; readable: F32"):
        tiny.load(path, SPEC)


def test_every_type_that_the_package_decodes_is_readable():
    decoded = {kind.name for kind in gguf.quants._type_traits} | {"F32", "F16"}
    assert set(ours.READABLE) == decoded


@pytest.mark.parametrize("kind", ours.READABLE)
def test_types_are_decoded_as_the_package_does(tmp_path, kind):
    """Rows of random bits, cut out of the middle of a tensor."""
    quantum = gguf.GGMLQuantizationType[kind]
    size = 512 // gguf.GGML_QUANT_SIZES[quantum][0] * gguf.GGML_QUANT_SIZES[quantum][1]
    rows = np.random.default_rng(0).integers(0, 60, (5, size), np.uint8)  # small exponents: no number is infinite
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tensor("x", rows.view(np.float32) if kind == "F32" else rows, raw_dtype=quantum)
    by_hand.finish(writer)
    got = ours.GgufFile(tmp_path / "m.gguf").read("x", (slice(1, 4), slice(100, 300)))
    assert got.dtype == np.float32
    assert got.std() > 0
    np.testing.assert_array_equal(got, gguf.quants.dequantize(rows, quantum).astype(np.float32)[1:4, 100:300])


def test_llama_31_scaling_is_recognised(tmp_path, decoder):
    wavelengths = 2 * np.pi * 5e5 ** (np.arange(0, 64, 2) / 64)
    smooth = np.clip((8192 / wavelengths - 1) / 3, 0, 1)
    divisors = (1 / ((1 - smooth) / 8 + smooth)).astype(np.float32)
    of = tiny.spec(**(vars(SPEC) | {"kinds": tiny.spec(head_size=SPEC.head_size, rope_theta=5e5).kinds}))
    path = write(tmp_path / "m.gguf", of, decoder, tensors={"rope_freqs.weight": divisors})
    assert load.read_spec(path).kinds[0].rope.scaling == Llama3Scaling(8.0, 1.0, 4.0, 8192)
    tiny.load(path, load.read_spec(path))
    path = write(tmp_path / "n.gguf", of, decoder, tensors={"rope_freqs.weight": divisors * 1.1})
    with pytest.raises(UserError, match="follows no released Llama 3 scaling"):
        load.read_spec(path)


# Fields that llama.cpp computes and we do not
UNREAD = {
    "llama.rope.scaling.type": lambda w, key: w.add_string(key, "su"),
    "llama.rope.scaling.attn_factor": lambda w, key: w.add_float32(key, 0.5),
    "llama.rope.scaling.yarn_ext_factor": lambda w, key: w.add_float32(key, 1.0),
    "llama.rope.dimension_count": lambda w, key: w.add_uint32(key, SPEC.head_size // 2),
    "llama.attention.value_length": lambda w, key: w.add_uint32(key, 2 * SPEC.head_size),
    "llama.attention.causal": lambda w, key: w.add_bool(key, False),
    "llama.attention.clamp_kqv": lambda w, key: w.add_float32(key, 8.0),
    "llama.attention.max_alibi_bias": lambda w, key: w.add_float32(key, 8.0),
    "llama.attention.scale": lambda w, key: w.add_float32(key, 0.1),
    "llama.final_logit_softcapping": lambda w, key: w.add_float32(key, 30.0),
    "llama.logit_scale": lambda w, key: w.add_float32(key, 16.0),
    "llama.residual_scale": lambda w, key: w.add_float32(key, 0.2),
    "llama.embedding_scale": lambda w, key: w.add_float32(key, 12.0),
    "llama.expert_count": lambda w, key: w.add_uint32(key, 8),
    "llama.use_parallel_residual": lambda w, key: w.add_bool(key, True),
    "llama.a_field_of_tomorrow": lambda w, key: w.add_string(key, "x"),
    "general.quantization_version": lambda w, key: w.add_uint32(key, 3),
    "general.type": lambda w, key: w.add_string(key, "adapter"),
    "split.count": lambda w, key: w.add_uint16(key, 3),
}


@pytest.mark.parametrize("key", UNREAD)
def test_fields_that_are_not_computed_are_refused(tmp_path, decoder, key):
    path = write(tmp_path / "m.gguf", SPEC, decoder, metadata=[lambda w: UNREAD[key](w, key)])
    with pytest.raises(UserError, match="RoPE scaling 'su'" if key.endswith("scaling.type") else key):
        load.read_spec(path)


@pytest.mark.parametrize("key", ["llama.rope.scale_linear", "llama.rope.scaling.factor"])
def test_a_factor_without_a_type_is_linear(tmp_path, decoder, key):
    path = write(tmp_path / "m.gguf", SPEC, decoder, metadata=[lambda w: w.add_float32(key, 4.0)])
    assert load.read_spec(path).kinds[0].rope.scaling == LinearScaling(4.0)


def test_yarn(tmp_path, decoder):
    fields = {"factor": 4.0, "original_context_length": 512}
    metadata = [
        lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN),
        lambda w: w.add_rope_scaling_factor(fields["factor"]),
        lambda w: w.add_rope_scaling_orig_ctx_len(fields["original_context_length"]),
    ]
    path = write(tmp_path / "m.gguf", SPEC, decoder, metadata=metadata)
    want = YarnScaling(4.0, 512, 32.0, 1.0, truncate=True, magnitude=1 + 0.1 * np.log(4.0))
    assert load.read_spec(path).kinds[0].rope.scaling == want


def split(path, parts=3):
    """Divides a file as llama-gguf-split does; returns the paths of the parts."""
    whole = gguf.GGUFReader(path)
    paths = [path.with_name(f"p-{i + 1:05d}-of-{parts:05d}.gguf") for i in range(parts)]
    for number, part in enumerate(paths):
        writer = gguf.GGUFWriter(part, "llama")
        if number:
            del writer.kv_data[0]["general.architecture"]
        else:
            for field in list(whole.fields.values())[3:]:
                if field.name != "general.architecture":
                    writer.add_key_value(field.name, field.contents(), field.types[0])
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", parts)
        writer.add_int32("split.tensors.count", len(whole.tensors))
        for tensor in whole.tensors[number::parts]:
            writer.add_tensor(tensor.name, np.array(tensor.data))
        by_hand.finish(writer)
    return paths


def test_parts_are_read_as_one(tmp_path, decoder):
    parts = split(write(tmp_path / "m.gguf", SPEC, decoder))
    assert load.read_spec(parts[0]) == SPEC
    jax.tree.map(np.testing.assert_array_equal, tiny.load(parts[0], SPEC), decoder)
    assert set(weight_hashes(parts[0])) == {part.name for part in parts}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda parts: parts[1].unlink(), "p-00002-of-00003.gguf is missing"),
        (lambda parts: parts[1].write_bytes(parts[2].read_bytes()), "'split.no': found 2, expected 1"),
        (lambda parts: parts[0].rename(parts[0].with_name("q.gguf")), "found by names such as NAME-00001-of-00003"),
        (lambda parts: parts[1].write_bytes(b"GGUF"), "p-00002-of-00003.gguf: not a readable GGUF file"),
    ],
)
def test_faults_of_parts_are_named(tmp_path, decoder, fault, message):
    parts = split(write(tmp_path / "m.gguf", SPEC, decoder))
    fault(parts)
    with pytest.raises(UserError, match=message):
        load.read_spec(parts[0] if parts[0].exists() else tmp_path / "q.gguf")


def test_a_later_part_says_so(tmp_path, decoder):
    parts = split(write(tmp_path / "m.gguf", SPEC, decoder))
    with pytest.raises(UserError, match="a later one of 3 parts.*name the first, p-00001-of-00003.gguf"):
        load.read_spec(parts[1])


def test_fields_that_change_nothing_are_read_over(tmp_path, decoder):
    """What llama.cpp's converters write beside the sizes, and settings in the position where they are off."""
    metadata = [
        lambda w: w.add_type("model"),
        lambda w: w.add_quantization_version(2),
        lambda w: w.add_vocab_size(SPEC.vocab),
        lambda w: w.add_rope_dimension_count(SPEC.head_size),
        lambda w: w.add_value_length(SPEC.head_size),
        lambda w: w.add_tensor_data_layout("Meta AI original pth"),
        lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR),
        lambda w: w.add_rope_scaling_factor(1.0),
        lambda w: w.add_causal_attention(True),
        lambda w: w.add_expert_count(0),
        lambda w: w.add_logit_scale(0.0),
        lambda w: w.add_uint16("split.count", 1),
    ]
    assert load.read_spec(write(tmp_path / "m.gguf", SPEC, decoder, metadata=metadata)) == SPEC


def test_strict_in_names(tmp_path, decoder):
    path = write(tmp_path / "m.gguf", SPEC, decoder, tensors={"blk.0.attn_q.bias": np.ones(4, np.float32)})
    with pytest.raises(UserError, match=r"no place in this model, first 'blk.0.attn_q.bias'"):
        tiny.load(path, SPEC)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 60, b"not a model at all" * 10])
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(UserError, match="m.gguf: not a readable GGUF file"):
        load.read_spec(tmp_path / "m.gguf")


def test_another_architecture_is_named(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "gemma")
    by_hand.finish(writer)
    with pytest.raises(UserError, match="architecture 'gemma' is not supported"):
        load.read_spec(tmp_path / "m.gguf")
