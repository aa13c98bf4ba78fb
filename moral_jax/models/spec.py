"""Model specs: the shapes and constants of a model by family, read from a Hugging Face `config.json`."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from jax.sharding import Mesh

from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError

MOST = 2**24  # limit of every count in a config.json: a hundred times that of the largest model
MOST_LAYERS = 1024


class AttentionPattern(NamedTuple):
    """The positions of its own question that a position sees.

    If `causal`, it sees none after itself. Of those before, it sees no more than the last `window` positions, itself
    included (None: all).
    """

    causal: bool
    window: int | None


class LayerGroup(NamedTuple):
    """Layers that lie together in the parameter dict: stacked on a leading axis, except for the last layer."""

    name: str
    layers: range

    @property
    def stacked(self) -> bool:
        return self.name != "last_layer"


def layer_groups(layers: int, frozen: int) -> tuple[LayerGroup, ...]:
    """Divides the layers of a model into groups, each a loop of its own.

    The last layer is its own group, because only its read positions are computed. The lowest `frozen` layers are a
    group, because a loop without trained parameters is not differentiated.
    """
    groups = (
        LayerGroup("frozen_layers", range(frozen)),
        LayerGroup("layers", range(frozen, layers - 1)),
        LayerGroup("last_layer", range(layers - 1, layers)),
    )
    return tuple(group for group in groups if group.layers)


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
    """RoPE frequency scaling of Llama 3.1 (`rope_type: llama3`)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclasses.dataclass(frozen=True)
class DecoderSpec:
    """Shapes and constants of a Llama-shaped decoder: everything that decides a logit."""

    backbone: ClassVar[str] = "decoder"

    family: str
    vocab: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    mlp_width: int
    norm_eps: float
    rope_theta: float
    rope_scaling: Llama3Scaling | None
    sliding_window: int | None
    tied_embeddings: bool
    max_positions: int

    @property
    def pattern(self) -> AttentionPattern:
        return AttentionPattern(causal=True, window=self.sliding_window)


@dataclasses.dataclass(frozen=True)
class EncoderSpec:
    """Shapes and constants of a BERT-shaped encoder: everything that decides a hidden state."""

    backbone: ClassVar[str] = "encoder"

    family: str
    vocab: int
    layers: int
    width: int
    heads: int
    mlp_width: int
    norm_eps: float
    token_types: int
    first_position: int  # position of a text's first token; RoBERTa leaves the positions up to its padding id unused
    max_positions: int

    @property
    def kv_heads(self) -> int:
        return self.heads

    @property
    def head_size(self) -> int:
        return self.width // self.heads

    @property
    def pattern(self) -> AttentionPattern:
        return AttentionPattern(causal=False, window=None)


Spec = DecoderSpec | EncoderSpec


@dataclasses.dataclass(frozen=True)
class ComputeOptions:
    """Options of computing a model; none changes a result beyond rounding."""

    mesh: Mesh
    dtype: str = "float32"  # of activations
    product_dtype: str = "float32"  # operands of matrix products are rounded to it if it is narrower
    param_dtype: str = "float32"
    attention: str = "plain"  # a key of models.attention.ATTENTION
    remat: str = "none"
    unroll: int = 1  # layers per step of the layer loop


class Fields:
    """An object in a `config.json`; checks each field as it is read."""

    def __init__(self, values: dict[str, Any], where: str):
        self.values, self.where = values, where

    def get(self, field: str, default: Any = None) -> Any:
        """Returns a field, or its default where it is absent or null; raises UserError without either."""
        value = self.values.get(field)
        value = default if value is None else value
        if value is None:
            raise UserError(f"{self.where}: the field {field!r} is missing")
        return value

    def _error(self, field: str, value: Any, expected: str) -> UserError:
        return UserError(f"{self.where}: {field}={shown(value)}: expected {expected}; take the model's own config.json")

    def whole(self, field: str, default: int | None = None, least: int = 1, most: int = MOST) -> int:
        """Returns an integer from `least` to `most`."""
        value = self.get(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._error(field, value, f"a whole number from {least} to {most}")
        return value

    def positive(self, field: str, default: float | None = None) -> float:
        """Returns a finite number above zero."""
        value = self.get(field, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise self._error(field, value, "a positive number")
        return float(value)

    def inner(self, field: str) -> "Fields | None":
        """Returns a nested object; None where it is absent or empty."""
        value = self.values.get(field)
        if value is not None and not isinstance(value, dict):
            raise self._error(field, value, "a JSON object")
        return Fields(value, f"{self.where}: {field}") if value else None


def _rope(hf: Fields) -> tuple[float, Llama3Scaling | None]:
    """Reads RoPE settings: `rope_parameters` of transformers 5, or the older `rope_theta` and `rope_scaling`.

    Of both, transformers takes `rope_scaling`.
    """
    scaling = hf.inner("rope_scaling") or hf.inner("rope_parameters") or Fields({}, hf.where)
    theta = (scaling if "rope_theta" in scaling.values else hf).positive("rope_theta", 10_000.0)
    for fields in (hf, scaling):
        _check_neutral(fields, {"partial_rotary_factor": 1.0})
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise UserError(f"{hf.where}: rope type {shown(kind)} is not supported; supported: 'default', 'llama3'")
    return theta, Llama3Scaling(
        factor=scaling.positive("factor"),
        low_freq_factor=scaling.positive("low_freq_factor"),
        high_freq_factor=scaling.positive("high_freq_factor"),
        original_max_positions=scaling.whole("original_max_position_embeddings"),
    )


def _check_neutral(hf: Fields, neutral: dict[str, Any]) -> None:
    """Refuses settings that would change results and are not ported."""
    for field, supported in neutral.items():
        if (value := hf.values.get(field)) not in (None, supported):
            raise UserError(f"{hf.where}: {field}={shown(value)} is not supported (only {supported!r} is)")


def _check_multiple(where: str, field: str, size: int, of_field: str, of: int) -> None:
    if size % of:
        raise UserError(f"{where}: {field}={size} is not a multiple of {of_field}={of}")


def _decoder(hf: Fields) -> DecoderSpec:
    _check_neutral(hf, {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "is_causal": True})
    theta, scaling = _rope(hf)
    family, heads, width = hf.get("model_type"), hf.whole("num_attention_heads"), hf.whole("hidden_size")
    has_window = family == "mistral" and hf.values.get("sliding_window")
    spec = DecoderSpec(
        family=family,
        vocab=hf.whole("vocab_size"),
        layers=hf.whole("num_hidden_layers", most=MOST_LAYERS),
        width=width,
        heads=heads,
        kv_heads=hf.whole("num_key_value_heads", heads),
        head_size=hf.whole("head_dim", width // heads),
        mlp_width=hf.whole("intermediate_size"),
        norm_eps=hf.positive("rms_norm_eps"),
        rope_theta=theta,
        rope_scaling=scaling,
        sliding_window=hf.whole("sliding_window") if has_window else None,
        tied_embeddings=bool(hf.get("tie_word_embeddings", False)),
        max_positions=hf.whole("max_position_embeddings"),
    )
    _check_multiple(hf.where, "num_attention_heads", heads, "num_key_value_heads", spec.kv_heads)
    if spec.head_size % 2:
        raise UserError(f"{hf.where}: head_dim={spec.head_size}: expected an even number, as RoPE rotates pairs")
    return spec


def _encoder(hf: Fields) -> EncoderSpec:
    neutral = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
    _check_neutral(hf, neutral | {"add_cross_attention": False})
    family = hf.get("model_type")
    first_position = hf.whole("pad_token_id", least=0) + 1 if family == "roberta" else 0
    spec = EncoderSpec(
        family=family,
        vocab=hf.whole("vocab_size"),
        layers=hf.whole("num_hidden_layers", most=MOST_LAYERS),
        width=hf.whole("hidden_size"),
        heads=hf.whole("num_attention_heads"),
        mlp_width=hf.whole("intermediate_size"),
        norm_eps=hf.positive("layer_norm_eps"),
        token_types=hf.whole("type_vocab_size"),
        first_position=first_position,
        max_positions=hf.whole("max_position_embeddings", least=first_position + 1) - first_position,
    )
    _check_multiple(hf.where, "hidden_size", spec.width, "num_attention_heads", spec.heads)
    return spec


FAMILIES: dict[str, Callable[[Fields], Spec]] = {
    "llama": _decoder,  # Llama 2/3/3.1, SmolLM2, ...
    "mistral": _decoder,  # Mistral v0.1-v0.3, Zephyr
    "bert": _encoder,  # BERT, MiniLM
    "roberta": _encoder,
}


def from_hf(hf: dict[str, Any], where: str = "config.json") -> Spec:
    """Returns the spec in a `config.json`; refuses by name what this port cannot compute exactly.

    Args:
      hf: the parsed JSON.
      where: the file's name, for errors.

    Raises:
      UserError: unknown family, missing field, or a setting that would change results and is not ported.
    """
    family = hf.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise UserError(f"{where}: model_type {shown(family)} is not supported; supported: {', '.join(FAMILIES)}")
    return FAMILIES[family](Fields(hf, where))
