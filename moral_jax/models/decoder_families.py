"""Families of decoders: what each takes from its `config.json`.

They differ in fields of one spec, which `_decoder` fills as Llama has them; a family changes some.
"""

import math
from collections.abc import Callable
from typing import Any

from moral_jax.models.config_json import Fields, check_multiple, check_neutral, layers, longest, rope, rope_fields
from moral_jax.models.rope import Rope
from moral_jax.models.spec import Activation, DecoderSpec, LayerKind
from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
GLOBAL, LOCAL = KINDS = ("full_attention", "sliding_attention")


def is_local(hf: Fields, count: int, default: Callable[[int], bool]) -> list[bool]:
    """Returns which layers have a window: those that `layer_types` names, or else the family's own."""
    if hf.values.get("layer_types") is None:
        return [default(layer) for layer in range(count)]
    kinds = hf.names("layer_types", count)
    for kind in kinds:
        if kind not in KINDS:
            known = ", ".join(map(repr, KINDS))
            raise UserError(f"{hf.where}: layer_types holds {shown(kind)}, which is not supported; supported: {known}")
    return [kind == LOCAL for kind in kinds]


def _head_size(hf: Fields, default: int | None = None) -> int:
    return hf.whole("head_dim", default or hf.whole("hidden_size") // hf.whole("num_attention_heads"))


def _whole_rope(hf: Fields, head_size: int, theta: float = 10_000.0) -> Rope:
    """Returns the one rotation of all layers, of whole heads."""
    scaling = rope_fields(hf)
    for fields in (hf, scaling):
        check_neutral(fields, {"partial_rotary_factor": 1.0})
    return rope(hf, scaling, head_size, theta)


def _alike(hf: Fields, window: int | None) -> tuple[LayerKind, ...]:
    return (LayerKind(window, _whole_rope(hf, _head_size(hf))),) * layers(hf)


def _decoder(hf: Fields, kinds: tuple[LayerKind, ...], **of_family: Any) -> DecoderSpec:
    """Returns a decoder as Llama has it, but for some fields.

    Args:
      kinds: what differs from layer to layer.
      of_family: fields of the spec.
    """
    check_neutral(hf, {"is_causal": True, "use_bidirectional_attention": False})
    heads, head_size = hf.whole("num_attention_heads"), of_family.get("head_size") or _head_size(hf)
    llama = {
        "family": hf.get("model_type"),
        "vocab": hf.whole("vocab_size"),
        "layers": layers(hf),
        "width": hf.whole("hidden_size"),
        "heads": heads,
        "kv_heads": hf.whole("num_key_value_heads", heads),
        "head_size": head_size,
        "mlp_width": hf.whole("intermediate_size"),
        "kinds": kinds,
        "norm": "rms",
        "norms": "before",
        "head_norm": "none",
        "fused": False,
        "qkv_bias": False,
        "out_bias": False,
        "mlp_bias": False,
        "gated": True,
        "score_scale": head_size**-0.5,
        "score_softcap": None,
        "embedding_scale": 1.0,
        "logit_softcap": None,
        "unembedding_bias": False,
        "max_positions": longest(hf),
    }
    read = {  # not read where a family has another field in their place
        "norm_eps": lambda: hf.positive("rms_norm_eps"),
        "activation": lambda: hf.choice("hidden_act", ACTIVATIONS, "silu"),
        "tied_embeddings": lambda: hf.switch("tie_word_embeddings"),
    }
    spec = DecoderSpec(**{**llama, **{k: get() for k, get in read.items() if k not in of_family}, **of_family})
    check_multiple(hf.where, "num_attention_heads", heads, "num_key_value_heads", spec.kv_heads)
    return spec


def llama(hf: Fields) -> DecoderSpec:
    biased = hf.switch("attention_bias")
    return _decoder(hf, _alike(hf, None), qkv_bias=biased, out_bias=biased, mlp_bias=hf.switch("mlp_bias"))


def mistral(hf: Fields) -> DecoderSpec:
    check_neutral(hf, {"layer_types": None})
    return _decoder(hf, _alike(hf, hf.whole("sliding_window") if hf.values.get("sliding_window") else None))


def _qwen_kinds(hf: Fields) -> tuple[LayerKind, ...]:
    """Returns layers of which the upper ones may have a window."""
    count, first = layers(hf), hf.whole("max_window_layers", 28, least=0)
    has_window = hf.switch("use_sliding_window") and hf.values.get("sliding_window") is not None
    local = is_local(hf, count, lambda layer: has_window and layer >= first)
    if any(local) and not has_window:
        raise UserError(f"{hf.where}: layer_types holds {LOCAL!r}, but use_sliding_window is not true")
    turn = _whole_rope(hf, _head_size(hf))
    return tuple(LayerKind(hf.whole("sliding_window") if here else None, turn) for here in local)


def qwen2(hf: Fields) -> DecoderSpec:
    return _decoder(hf, _qwen_kinds(hf), qkv_bias=True)


def qwen3(hf: Fields) -> DecoderSpec:
    hf = Fields({"head_dim": 128} | {k: v for k, v in hf.values.items() if v is not None}, hf.where)
    biased = hf.switch("attention_bias")
    return _decoder(hf, _qwen_kinds(hf), head_norm="each", qkv_bias=biased, out_bias=biased)


def phi(hf: Fields) -> DecoderSpec:
    check_neutral(hf, {"qk_layernorm": False})
    scaling = rope_fields(hf)
    partial = (scaling if "partial_rotary_factor" in scaling.values else hf).positive("partial_rotary_factor", 0.5)
    turn = rope(hf, scaling, _head_size(hf), partial=min(partial, 1.0))
    return _decoder(
        hf,
        (LayerKind(None, turn),) * layers(hf),
        norm="layer",
        norm_eps=hf.positive("layer_norm_eps", 1e-5),
        norms="parallel",
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        activation=hf.choice("hidden_act", ACTIVATIONS, "gelu_new"),
        gated=False,
        unembedding_bias=True,
    )


def phi3(hf: Fields) -> DecoderSpec:
    scaling = rope_fields(hf)
    old = {"su": "longrope", "yarn": "longrope"}  # what its first files called it
    kind = scaling.values.get("rope_type", scaling.values.get("type"))
    scaling = Fields(scaling.values | ({"rope_type": old[kind]} if kind in old else {}), scaling.where)
    hf = Fields({"original_max_position_embeddings": 4096} | hf.values, hf.where)
    partial = (scaling if "partial_rotary_factor" in scaling.values else hf).positive("partial_rotary_factor", 1.0)
    turn = rope(hf, scaling, _head_size(hf), partial=min(partial, 1.0))
    window = hf.whole("sliding_window") if hf.values.get("sliding_window") else None
    return _decoder(hf, (LayerKind(window, turn),) * layers(hf), fused=True)


def _gemma(hf: Fields, kinds: tuple[LayerKind, ...], **of_family: Any) -> DecoderSpec:
    biased = hf.switch("attention_bias")
    return _decoder(
        hf,
        kinds,
        norm="rms_plus_one",
        norms="both",
        qkv_bias=biased,
        out_bias=biased,
        activation=hf.choice("hidden_activation", ACTIVATIONS, "gelu_pytorch_tanh"),
        score_scale=hf.positive("query_pre_attn_scalar", 256.0) ** -0.5,
        embedding_scale=math.sqrt(hf.whole("hidden_size")),
        logit_softcap=hf.optional("final_logit_softcapping", of_family.pop("logit_softcap", None)),
        tied_embeddings=hf.switch("tie_word_embeddings", True),
        head_size=_head_size(hf, 256),
        **of_family,
    )


def gemma2(hf: Fields) -> DecoderSpec:
    window, turn = hf.whole("sliding_window", 4096), _whole_rope(hf, _head_size(hf, 256))
    local = is_local(hf, layers(hf), lambda layer: layer % 2 == 0)
    kinds = (LayerKind(window if here else None, turn) for here in local)
    cap = hf.optional("attn_logit_softcapping", 50.0)
    return _gemma(hf, tuple(kinds), score_softcap=cap, logit_softcap=30.0)


def two_ropes(hf: Fields, head_size: int, bases: dict[str, tuple[str, float]], scaled: tuple[str, ...]) -> list[Rope]:
    """Returns the rotations of global and of local layers.

    Args:
      bases: for both kinds of layers, the field of older configs that holds the base, and its default.
      scaled: the kinds of layers that `rope_scaling` of older configs is about.
    """
    nested, out = hf.inner("rope_parameters"), []
    for kind in KINDS:
        field, theta = bases[kind]
        inner = (nested and nested.inner(kind)) or Fields({}, hf.where)
        older = hf.inner("rope_scaling") if kind in scaled else None
        values = {"rope_theta": hf.positive(field, theta)} | inner.values | (older.values if older else {})
        out.append(rope(hf, Fields(values, inner.where), head_size))
    return out


def gemma3(hf: Fields) -> DecoderSpec:
    check_neutral(hf, {"attn_logit_softcapping": None})  # named, but not computed by transformers
    head_size, every = _head_size(hf, 256), hf.whole("sliding_window_pattern", 6)
    bases = {GLOBAL: ("rope_theta", 1e6), LOCAL: ("rope_local_base_freq", 1e4)}
    whole, near = two_ropes(hf, head_size, bases, scaled=(GLOBAL,))
    window = hf.whole("sliding_window", 4096)
    local = is_local(hf, layers(hf), lambda layer: (layer + 1) % every != 0)
    kinds = tuple(LayerKind(window, near) if here else LayerKind(None, whole) for here in local)
    return _gemma(hf, kinds, head_norm="each")


def olmo2(hf: Fields) -> DecoderSpec:
    biased = hf.switch("attention_bias")
    return _decoder(hf, _alike(hf, None), norms="after", head_norm="all", qkv_bias=biased, out_bias=biased)


def smollm3(hf: Fields) -> DecoderSpec:
    check_neutral(hf, {"use_sliding_window": False})
    count, every = layers(hf), hf.whole("no_rope_layer_interval", 4)
    if hf.values.get("no_rope_layers"):
        rotates = hf.names("no_rope_layers", count)
    else:
        rotates = [(layer + 1) % every != 0 for layer in range(count)]
    turn = _whole_rope(hf, _head_size(hf), 2e6)
    biased = hf.switch("attention_bias")
    return _decoder(
        hf,
        tuple(LayerKind(None, turn if rotated else None) for rotated in rotates),
        qkv_bias=biased,
        out_bias=biased,
        mlp_bias=hf.switch("mlp_bias"),
        tied_embeddings=hf.switch("tie_word_embeddings", True),
    )
