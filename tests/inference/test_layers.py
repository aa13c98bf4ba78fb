"""Tests the states of every layer: packed as alone, cut as whole, and the last one is what the model itself reads."""

import dataclasses

import jax
import numpy as np
import pytest

from moral_jax.config.model import AdapterConfig
from moral_jax.inference import states
from moral_jax.models import read_out
from moral_jax.objectives.votes import log_probabilities
from tests.helpers import tiny

LORA = AdapterConfig(kind="lora", rank=2, alpha=4.0)
MODELS = {
    "decoder": tiny.model(tiny.spec()),
    "lora": tiny.model(tiny.spec(), adapter=LORA),
    "frozen": tiny.model(tiny.spec(), adapter=dataclasses.replace(LORA, first_layer=1)),
    "int8": tiny.model(tiny.spec(), quantize="int8", adapter=LORA),
    "scored": tiny.model(tiny.spec(), score_rows=1),
    "encoder": tiny.model(tiny.encoder_spec(), score_rows=1),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


def questions(model):
    ask = tiny.each if model.score_rows else tiny.questions
    return ask(np.random.default_rng(0), 5, 97)


def lay_out(model, rows, length):
    return tiny.lay_out(rows, length, max(map(len, rows)), is_encoder=model.backbone == "encoder")


def layers(model, params, batch):
    _, found = states.make_layer_scorer(model).score(params, batch)
    return jax.device_get(found)


def test_packed_equals_alone(model):
    asked, params = questions(model), tiny.params(model)
    batch = lay_out(model, [asked[:3], asked[3:]], 64)
    packed, alone = layers(model, params, batch), layers(model, params, lay_out(model, [[q] for q in asked], 24))
    filled = batch.asks.weights_BQ > 0
    assert packed.states.shape == (2, 3, model.spec.layers + 1, model.spec.width)
    assert packed.states.dtype == packed.log_shares.dtype == np.float32
    for a, b in zip(packed, alone, strict=True):
        np.testing.assert_allclose(a[filled], b[:, 0], atol=3e-5)
    assert np.abs(np.diff(packed.states[filled], axis=1)).max((0, 2)).min() > 0.01  # every layer does something


def test_the_last_layer_is_what_the_model_reads(model):
    params = tiny.params(model)
    batch = lay_out(model, [questions(model)], 96)
    read = read_out.read_out(params, model, batch)
    kept_LBAD = read_out.layer_states(params, model, batch)
    for hidden, same in ((kept_LBAD[-1], True), (kept_LBAD[-2], False)):
        through = read_out.read_layer(params, model, batch, hidden).hidden_BAD
        assert np.allclose(through, read.hidden_BAD, atol=1e-6) == same
    found = layers(model, params, batch)
    own = log_probabilities(read.options().logits_BQC)
    np.testing.assert_allclose(found.log_shares[:, :, -1], own, atol=2e-5)


def test_a_layer_is_the_last_one_of_the_model_that_ends_there():
    model = MODELS["decoder"]
    params, batch = tiny.params(model), lay_out(model, [questions(model)], 96)
    kept_LBAD = read_out.layer_states(params, model, batch)
    for count in (1, 2):
        short = tiny.model(tiny.spec(layers=count))
        cut = params | {"decoder": tiny.cut(params["decoder"], count)}
        np.testing.assert_allclose(read_out.layer_states(cut, short, batch), kept_LBAD[: count + 1], atol=1e-6)
    tokens = np.take_along_axis(batch.tokens.tokens_BT, batch.asks.read_BA, 1)
    np.testing.assert_allclose(kept_LBAD[0], params["decoder"]["embedding"][tokens], atol=1e-6)


def test_cut_into_devices_as_whole():
    asked = tiny.questions(np.random.default_rng(1), 4, 97)
    found = []
    for mesh in (tiny.mesh(1, 1, 1), tiny.mesh(2, 1, 2)):
        model = tiny.model(tiny.spec(), mesh=mesh)
        found.append(layers(model, tiny.params(model), lay_out(model, [asked[:2], asked[2:]], 32)))
    np.testing.assert_allclose(found[0].states, found[1].states, atol=2e-5)
