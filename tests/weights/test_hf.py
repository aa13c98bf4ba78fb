"""Safetensors folders: strict in names, shapes and types, and in what they refuse."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from moral_jax.models.families import from_hf
from moral_jax.types import UserError
from moral_jax.weights import load
from tests.helpers import tiny

SPEC = tiny.spec(tied_embeddings=False)


@pytest.fixture
def parameters():
    return tiny.params(tiny.model(SPEC))["decoder"]


@pytest.fixture
def folder(tmp_path, parameters):
    (tmp_path / "config.json").write_text(json.dumps(tiny.hf_config(SPEC)))
    save_file(tiny.hf_tensors(SPEC, parameters), tmp_path / "model.safetensors")
    return tmp_path


def rewrite(folder, change):
    tensors = tiny.hf_tensors(SPEC, tiny.params(tiny.model(SPEC))["decoder"])
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_reads_back_what_was_written(folder, parameters):
    assert load.read_spec(folder) == SPEC
    jax.tree.map(np.testing.assert_array_equal, tiny.load(folder, SPEC), parameters)


def test_half_precision_files_become_float32(folder, parameters):
    half = {k: v.astype(ml_dtypes.bfloat16) for k, v in tiny.hf_tensors(SPEC, parameters).items()}
    save_file(half, folder / "model.safetensors")
    loaded = tiny.load(folder, SPEC)
    assert {x.dtype for x in jax.tree.leaves(loaded)} == {np.dtype("float32")}
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b.astype(ml_dtypes.bfloat16).astype(np.float32)),
        loaded,
        parameters,
    )


def test_several_files_behind_an_index(folder, parameters):
    (folder / "model.safetensors").unlink()
    split(folder, parameters)
    jax.tree.map(np.testing.assert_array_equal, tiny.load(folder, SPEC), parameters)


def split(folder, parameters):
    """Writes the model's tensors in two files behind an index, beside what is there."""
    tensors = tiny.hf_tensors(SPEC, parameters)
    names = sorted(tensors)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({n: tensors[n] for n in part}, folder / file)
    weight_map = {n: file for file, part in parts.items() for n in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.fault("two sets of weights in one folder", promise="refused, with the names of both")
def test_two_sets_of_weights_are_not_chosen_between(folder, parameters):
    rewrite(folder, lambda t: t.update({"model.norm.weight": 2 * t["model.norm.weight"]}))
    split(folder, parameters)
    with pytest.raises(UserError, match=r"model.safetensors and also the files of model.safetensors.index.json"):
        tiny.load(folder, SPEC)


def test_an_index_may_name_the_one_file(folder, parameters):
    weight_map = dict.fromkeys(tiny.hf_tensors(SPEC, parameters), "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    jax.tree.map(np.testing.assert_array_equal, tiny.load(folder, SPEC), parameters)


def test_an_adapter_beside_the_weights_is_not_left_out(folder):
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"an adapter \(adapter_config.json\) beside the weights.*config.adapter.path"):
        tiny.load(folder, SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), "missing.*model.layers.1.mlp.up_proj.weight"),
        (lambda t: t.update({"model.layers.9.mlp.up_proj.weight": np.ones(3, np.float32)}), "no place.*layers.9"),
        (
            lambda t: t.update({"lm_head.weight": np.ones((96, 32), np.float32)}),
            r"lm_head.weight.*\(96, 32\).*\(97, 32\)",
        ),
        (lambda t: t.update({"model.norm.weight": np.ones(32, np.int32)}), "model.norm.weight.*I32"),
    ],
)
def test_what_does_not_fit_is_named(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(UserError, match=message):
        tiny.load(folder, SPEC)


def test_a_tied_copy_may_be_there_and_is_not_used(tmp_path):
    of = tiny.spec()
    parameters = tiny.params(tiny.model(of))["decoder"]
    tensors = tiny.hf_tensors(of, parameters)
    head = tensors["model.embed_tokens.weight"].copy()
    save_file(tensors | {"lm_head.weight": head}, tmp_path / "model.safetensors")
    loaded = tiny.load(tmp_path, of)
    assert "unembedding" not in loaded
    jax.tree.map(np.testing.assert_array_equal, loaded, parameters)
    head[-1, -1] += 0.01
    for other in (head, head[:-1]):  # a head of its own, and one of before the vocabulary grew
        save_file(tensors | {"lm_head.weight": other}, tmp_path / "model.safetensors")
        with pytest.raises(UserError, match="'lm_head.weight' differs from.*set tie_word_embeddings to false"):
            tiny.load(tmp_path, of)


@pytest.mark.parametrize("file", ["../model.safetensors", "/etc/passwd", "sub/x.safetensors", "", ".."])
def test_an_index_may_not_leave_the_folder(folder, file):
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": file}}))
    with pytest.raises(UserError, match="only plain file names"):
        tiny.load(folder, SPEC)


def test_pickles_are_never_read(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="pytorch_model.bin is a pickle and is never read"):
        tiny.load(folder, SPEC)


def test_a_broken_file_is_named(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(UserError, match="model.safetensors: not a readable safetensors file"):
        tiny.load(folder, SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "'gpt2' is not supported"),
        ({"attention_bias": "yes"}, "attention_bias='yes'"),
        ({"hidden_act": "relu2"}, "hidden_act='relu2'"),
        ({"rope_parameters": {"rope_type": "ntk"}}, "'ntk' is not supported"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1.0}}, "the field 'factor' is missing"),
        ({"num_key_value_heads": 3}, "not a multiple"),
        ({"is_causal": False}, "is_causal=False"),  # a decoder that became an encoder of texts
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "rope_parameters: partial_rotary_factor=0.5"),
        ({"rope_scaling": {"type": "ntk", "factor": 2.0}}, "'ntk' is not supported"),  # beside rope_parameters
    ],
)
def test_a_config_that_cannot_be_computed_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        from_hf(tiny.hf_config(SPEC) | change)


def test_old_files_keep_rope_at_the_top():
    old = tiny.hf_config(SPEC) | {"rope_theta": 5e5}
    del old["rope_parameters"]
    assert from_hf(old).kinds[0].rope.theta == 5e5


def test_missing_field_is_named():
    broken = tiny.hf_config(SPEC)
    del broken["intermediate_size"]
    with pytest.raises(UserError, match="'intermediate_size' is missing"):
        from_hf(broken)
