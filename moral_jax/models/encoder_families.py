"""Families of encoders: what each takes from its `config.json`."""

from typing import Any

from moral_jax.models.config_json import Fields, check_multiple, check_neutral, layers, longest
from moral_jax.models.decoder_families import ACTIVATIONS, GLOBAL, LOCAL, is_local, two_ropes
from moral_jax.models.spec import Distances, EncoderSpec, LayerKind
from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError


def _like_bert(hf: Fields) -> dict[str, Any]:
    """Returns the fields of an encoder whose layers are BERT's."""
    return {
        "family": hf.get("model_type"),
        "vocab": hf.whole("vocab_size"),
        "layers": layers(hf),
        "width": hf.whole("hidden_size"),
        "heads": hf.whole("num_attention_heads"),
        "mlp_width": hf.whole("intermediate_size"),
        "kinds": (LayerKind(None, None),) * layers(hf),
        "norm": "layer",
        "norm_eps": hf.positive("layer_norm_eps"),
        "norms": "sum",
        "first_apart": False,
        "fused": False,
        "qkv_bias": True,
        "mlp_bias": True,
        "pooler_bias": True,
        "pooler_norm": False,
        "activation": "gelu",
        "gated": False,
    }


def bert(hf: Fields) -> EncoderSpec:
    """Reads BERT and RoBERTa."""
    neutral = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
    check_neutral(hf, neutral | {"add_cross_attention": False})
    first_position = hf.whole("pad_token_id", least=0) + 1 if hf.get("model_type") == "roberta" else 0
    spec = EncoderSpec(
        **_like_bert(hf),
        distances=None,
        learned_positions=True,
        pooler="tanh",
        token_types=hf.whole("type_vocab_size"),
        first_position=first_position,
        max_positions=hf.whole("max_position_embeddings", least=first_position + 1) - first_position,
    )
    check_multiple(hf.where, "hidden_size", spec.width, "num_attention_heads", spec.heads)
    return spec


def modernbert(hf: Fields) -> EncoderSpec:
    """Reads ModernBERT: a decoder's layers that look both ways, most of them at near tokens only."""
    check_neutral(hf, {"classifier_pooling": "cls", "classifier_bias": False, "classifier_activation": "gelu"})
    heads, width, count = hf.whole("num_attention_heads"), hf.whole("hidden_size"), layers(hf)
    check_multiple(hf.where, "hidden_size", width, "num_attention_heads", heads)
    if count < 2:
        raise UserError(
            f"{hf.where}: num_hidden_layers={count}: expected 2 or more, as the first differs from the rest"
        )
    bases = {GLOBAL: ("global_rope_theta", 160_000.0), LOCAL: ("local_rope_theta", 10_000.0)}
    whole, near = two_ropes(hf, width // heads, bases, scaled=(GLOBAL, LOCAL))
    every = hf.whole("global_attn_every_n_layers", 3)
    # a token sees half of `local_attention` on either side, and itself
    window = hf.whole("local_attention", 128) // 2 + 1
    local = is_local(hf, count, lambda layer: layer % every != 0)
    return EncoderSpec(
        family="modernbert",
        vocab=hf.whole("vocab_size"),
        layers=count,
        width=width,
        heads=heads,
        mlp_width=hf.whole("intermediate_size"),
        kinds=tuple(LayerKind(window, near) if here else LayerKind(None, whole) for here in local),
        norm="layer" if hf.switch("norm_bias") else "layer_scale",
        norm_eps=hf.positive("norm_eps", 1e-5),
        norms="before",
        first_apart=True,
        fused=True,
        qkv_bias=hf.switch("attention_bias"),
        mlp_bias=hf.switch("mlp_bias"),
        pooler_bias=False,
        activation=hf.choice("hidden_activation", ACTIVATIONS, "gelu"),
        gated=True,
        distances=None,
        learned_positions=False,
        pooler="gelu",
        pooler_norm=True,
        token_types=0,
        first_position=0,
        max_positions=longest(hf),
    )


def deberta(hf: Fields) -> EncoderSpec:
    """Reads DeBERTa-v2 and v3, as far as v3 goes: both kinds of distances, from the layers' own queries and keys."""
    neutral = {"hidden_act": "gelu", "pooler_hidden_act": "gelu", "type_vocab_size": 0, "conv_kernel_size": 0}
    check_neutral(hf, neutral | {"embedding_size": hf.whole("hidden_size")})
    needed = {"relative_attention": True, "position_biased_input": False, "share_att_key": True}
    for field, value in needed.items():
        if hf.values.get(field) is not value:
            raise UserError(f"{hf.where}: {field}={shown(hf.values.get(field))} is not supported (only {value!r} is)")
    kinds = hf.get("pos_att_type")
    kinds = [kind.strip() for kind in kinds.lower().split("|")] if isinstance(kinds, str) else kinds
    if not isinstance(kinds, list) or sorted(map(str, kinds)) != ["c2p", "p2c"]:
        raise UserError(f"{hf.where}: pos_att_type={shown(kinds)} is not supported (only 'p2c|c2p' is)")
    if hf.values.get("norm_rel_ebd") != "layer_norm":
        found = shown(hf.values.get("norm_rel_ebd"))
        raise UserError(f"{hf.where}: norm_rel_ebd={found} is not supported (only 'layer_norm' is)")
    most, longest_distance = hf.whole("max_position_embeddings"), hf.get("max_relative_positions", -1)
    spec = EncoderSpec(
        **_like_bert(hf),
        distances=Distances(
            buckets=hf.whole("position_buckets", least=2),
            longest=most if longest_distance == -1 else hf.whole("max_relative_positions", least=2),
        ),
        learned_positions=False,
        pooler="gelu",
        token_types=0,
        first_position=0,
        max_positions=most,
    )
    check_multiple(hf.where, "hidden_size", spec.width, "num_attention_heads", spec.heads)
    return spec
