"""Files of encoders: under the names that people's files have, and refused where they hold what is not read."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from moral_jax.models import api
from moral_jax.models.families import from_hf
from moral_jax.types import UserError
from moral_jax.weights import load
from tests.helpers import tiny

SPECS = {"bert": tiny.encoder_spec(), "roberta": tiny.encoder_spec(**tiny.ROBERTA)}


@pytest.fixture(params=SPECS)
def of(request):
    return SPECS[request.param]


def write(folder, of, rename=lambda name: name, **more):
    tensors = tiny.hf_tensors(of, tiny.params(tiny.model(of))["encoder"])
    save_file({rename(k): v for k, v in tensors.items()} | more, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(tiny.hf_encoder_config(of)))
    return folder


def same(loaded, of):
    want = load.flat(tiny.params(tiny.model(of))["encoder"])
    got = load.flat(loaded)
    assert set(got) == set(want)
    for path, leaf in got.items():
        np.testing.assert_array_equal(leaf, want[path], err_msg=path)


def old(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


@pytest.mark.parametrize("prefixed", [False, True])
@pytest.mark.parametrize("renamed", [str, old])
def test_every_way_of_naming(tmp_path, of, prefixed, renamed):
    prefix = f"{of.family}." if prefixed else ""
    write(tmp_path, of, lambda name: prefix + renamed(name))
    assert load.read_spec(tmp_path) == of
    same(tiny.load(tmp_path, of), of)


def test_what_it_was_pretrained_with_is_left(tmp_path, of):
    one = np.ones((2, 2), np.float32)
    more = {
        "bert": ("cls.predictions.decoder.weight", "cls.predictions.transform.LayerNorm.gamma",
                 "cls.seq_relationship.bias", "bert.embeddings.position_ids"),
        "roberta": ("lm_head.dense.weight", "lm_head.layer_norm.bias", "lm_head.bias",
                    "roberta.embeddings.position_ids"),
    }[of.family]  # fmt: skip
    more = {name: np.arange(4)[None] if name.endswith("position_ids") else one for name in more}
    write(tmp_path, of, lambda name: f"{of.family}.{name}", **more)
    same(tiny.load(tmp_path, of), of)


@pytest.mark.parametrize("name", ["classifier.weight", "cls.predictions.extra", "encoder.layer.3.output.dense.weight"])
def test_what_it_was_not_is_refused(tmp_path, name):
    write(tmp_path, SPECS["bert"], **{name: np.ones((2, 2), np.float32)})
    with pytest.raises(UserError, match=f"1 tensors have no place in this model, first '{name}'"):
        tiny.load(tmp_path, SPECS["bert"])


def test_what_is_missing_is_named(tmp_path):
    write(tmp_path, SPECS["bert"])
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["encoder.layer.1.attention.self.key.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="1 tensors are missing, first 'encoder.layer.1.attention.self.key.bias'"):
        tiny.load(tmp_path, SPECS["bert"])


@pytest.mark.parametrize("prefixed", [False, True])
def test_a_pooler_is_read_where_there_is_one(tmp_path, of, prefixed):
    prefix = f"{of.family}." if prefixed else ""
    like = api.abstract_params(tiny.model(of, score_rows=1))["score"]
    write(tmp_path, of, lambda name: prefix + name)
    assert load.pooler(tmp_path, of, like, 4096) == {}
    dense = np.arange(32 * 32, dtype=np.float32).reshape(32, 32)
    pooler = {f"{prefix}pooler.dense.weight": dense, f"{prefix}pooler.dense.bias": dense[0]}
    write(tmp_path, of, lambda name: prefix + name, **pooler)
    got = load.pooler(tmp_path, of, like, 4096)["pooler"]
    np.testing.assert_array_equal(got["kernel"], dense.T)
    np.testing.assert_array_equal(got["bias"], dense[0])
    same(tiny.load(tmp_path, of), of)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act='relu' is not supported"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
        ({"is_decoder": True}, "is_decoder=True"),
        ({"num_attention_heads": 5}, "hidden_size=32 is not a multiple of num_attention_heads=5"),
        (
            {"model_type": "deberta"},
            "model_type 'deberta' is not supported; supported: llama, .*, bert, roberta, modernbert",
        ),
    ],
)
def test_settings_that_would_change_numbers_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        from_hf(tiny.hf_encoder_config(SPECS["bert"]) | change)


def test_robertas_positions_begin_after_its_padding():
    hf = tiny.hf_encoder_config(SPECS["roberta"]) | {"max_position_embeddings": 514, "pad_token_id": 1}
    assert (from_hf(hf).first_position, from_hf(hf).max_positions) == (2, 512)
