"""Tests `config.json` of models: fields that are missing, mistyped, out of range, or not supported here."""

import json

import pytest

from tests.bad_input import models
from tests.bad_input.refusal import Case, each
from tests.helpers import tiny

DECODER = tiny.hf_config(tiny.spec())
ENCODER = tiny.hf_encoder_config(tiny.encoder_spec())
ROBERTA = tiny.hf_encoder_config(tiny.encoder_spec(**tiny.ROBERTA))


def decoder(**changes):
    return json.dumps(DECODER | changes).encode()


def encoder(base=ENCODER, **changes):
    return json.dumps(base | changes).encode()


def rope(**fields):
    return decoder(rope_parameters={"rope_theta": 1e4} | fields)


def qwen(**changes):
    return decoder(model_type="qwen2", **changes)


def gemma(family="gemma2", **changes):
    return decoder(model_type=family, head_dim=12, **changes)


LONG = {"rope_type": "longrope", "short_factor": [1.0] * 6, "long_factor": [2.0] * 6}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CASES = (
    Case("empty", b"", "config.json", "not valid JSON"),
    Case("a list", b"[{}]", "config.json", "expected a JSON object"),
    Case("no fields", b"{}", "config.json: model_type None", "supported: llama"),
    Case("a key twice", b'{"model_type": "llama", "model_type": "bert"}', "config.json", "appears twice"),
    Case("bytes that are no text", b"\x80\x81", "config.json", "not valid JSON"),
    Case("another family", decoder(model_type="gemma"), "model_type 'gemma'", "supported: llama"),
    Case("a family that is a list", decoder(model_type=["llama"]), "model_type ['llama']", "supported: llama"),
    Case("no vocabulary", decoder(vocab_size=None), "the field 'vocab_size'", "is missing"),
    Case("a vocabulary in words", decoder(vocab_size="many"), "vocab_size='many'", "a whole number"),
    Case("a fractional width", decoder(hidden_size=32.5), "hidden_size=32.5", "a whole number"),
    Case("an infinite width", decoder(hidden_size=float("inf")), "hidden_size=inf", "a whole number"),
    Case("a negative width", decoder(hidden_size=-32), "hidden_size=-32", "a whole number from 1"),
    Case("a true width", decoder(hidden_size=True), "hidden_size=True", "a whole number"),
    Case("no heads", decoder(num_attention_heads=0), "num_attention_heads=0", "a whole number from 1"),
    Case("heads that share nothing", decoder(num_key_value_heads=3), "num_attention_heads=4", "num_key_value_heads=3"),
    Case("an odd head", decoder(head_dim=7), "a head of 7", "an even number"),
    Case("10^12 layers", decoder(num_hidden_layers=10**12), "num_hidden_layers=10", "a whole number from 1 to 1024"),
    Case("2^60 positions", decoder(max_position_embeddings=2**60), "max_position_embeddings", "a whole number from 1"),
    Case("no epsilon", decoder(rms_norm_eps=0), "rms_norm_eps=0", "a positive number"),
    Case("an epsilon that is none", decoder(rms_norm_eps=float("nan")), "rms_norm_eps=nan", "a positive number"),
    Case("an epsilon of 10,000 digits", b'{"rms_norm_eps": ' + b"1" * 10_000 + b"}", "config.json", "not valid JSON"),
    Case("a negative window", decoder(model_type="mistral", sliding_window=-1), "sliding_window=-1", "a whole number"),
    Case("another activation", decoder(hidden_act="relu2"), "hidden_act='relu2'", "supported: 'silu'"),
    Case("biases", decoder(attention_bias="all"), "attention_bias='all'", "true or false"),
    Case("rope that is a list", decoder(rope_parameters=[1]), "rope_parameters=[1]", "a JSON object"),
    Case("rope of another kind", rope(rope_type="ntk"), "rope type 'ntk'", "supported: 'default', 'dynamic'"),
    Case("rope of no kind", rope(rope_type={"a": 1}), "rope type {'a': 1}", "supported: 'default', 'dynamic'"),
    Case("rope without a base", rope(rope_theta="big"), "rope_theta='big'", "a positive number"),
    Case("rope that turns back", rope(rope_theta=-1e4), "rope_theta=-10000.0", "a positive number"),
    Case("half of llama3", rope(rope_type="llama3", factor=8.0), "'low_freq_factor'", "is missing"),
    Case(
        "llama3 without length", rope(**LLAMA3, original_max_position_embeddings=0), "original_max_pos", "whole number"
    ),
    Case("yarn without a factor", rope(rope_type="yarn"), "'factor'", "is missing"),
    Case("longrope of three numbers", rope(**LONG | {"short_factor": [1, 1, 1]}), "short_factor", "6 positive numbers"),
    Case("longrope of zero", rope(**LONG | {"long_factor": [0] * 6}), "long_factor", "6 positive numbers"),
    Case("three axes", rope(rope_type="default", mrope_section=[2, 2, 2]), "mrope_section=[2, 2, 2]", "only None is"),
    Case("layers of a third kind", qwen(layer_types=["chunked_attention"] * 3), "'chunked_attention'", "supported"),
    Case("too few kinds of layers", qwen(layer_types=["full_attention"]), "layer_types", "a list of 3 items"),
    Case("a window that is off", qwen(layer_types=["sliding_attention"] * 3), "layer_types", "use_sliding_window"),
    Case("a cap of nothing", gemma(final_logit_softcapping=0), "final_logit_softcapping=0", "a positive number"),
    Case("a cap that nobody computes", gemma("gemma3_text", attn_logit_softcapping=5), "attn_logit", "only None is"),
    Case("both directions", gemma(use_bidirectional_attention=True), "use_bidirectional_attention", "only False is"),
    Case("norms of heads in Phi", decoder(model_type="phi", qk_layernorm=True), "qk_layernorm=True", "only False is"),
    Case("weights in 8 bits", decoder(quantization_config={"quant_method": "fp8"}), "'fp8'", "unquantised"),
    Case("weights in 4 bits", decoder(quantization_config={"quant_method": "bitsandbytes"}), "'bitsandbytes'", "nf4"),
    Case("weights of torchao", decoder(quantization_config={"quant_method": "torchao"}), "'torchao'", "unquantised"),
    Case("weights of nobody", decoder(quantization_config={}), "quantization_config", "unquantised"),
    Case("an encoder without types", encoder(type_vocab_size=None), "'type_vocab_size'", "is missing"),
    Case("an encoder cut by heads", encoder(num_attention_heads=5), "hidden_size=32", "num_attention_heads=5"),
    Case("an encoder that is a decoder", encoder(is_decoder=True), "is_decoder=True", "only False is"),
    Case("RoBERTa without padding", encoder(ROBERTA, pad_token_id=None), "'pad_token_id'", "is missing"),
    Case("RoBERTa all padding", encoder(ROBERTA, pad_token_id=10**6), "max_position_embeddings", "a whole number from"),
    Case("RoBERTa, padding -5", encoder(ROBERTA, pad_token_id=-5), "pad_token_id=-5", "a whole number from 0"),
)


@pytest.mark.fault("a model's config.json that is damaged or hostile", promise="one message, exit code 2")
@each(CASES)
def test_config_json(case, refused, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_bytes(case.given)
    models.ask(refused, case, tmp_path / "model")


def test_the_configs_that_the_others_are_changes_of():
    from moral_jax.models.families import from_hf

    for good in (DECODER, ENCODER, ROBERTA):
        from_hf(good)
