"""What a model is: one frozen description by family, read from a Hugging Face `config.json`."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from jax.sharding import Mesh

from moral_jax.types import UserError


class Sight(NamedTuple):
    """What a position sees of its own question: nothing after itself, if `causal`; and no further back than `window`
    positions, itself counted (None: all)."""

    causal: bool
    window: int | None


class LayerGroup(NamedTuple):
    """Layers that lie together in the parameter dict: stacked on a leading axis, but for the last one."""

    name: str
    layers: range

    @property
    def stacked(self) -> bool:
        return self.name != "last_layer"


def _groups(frozen: int, layers: int) -> tuple[LayerGroup, ...]:
    """The last layer lies alone: of it, only what the answer positions need is computed. So do those at the bottom
    that are frozen: a loop of their own, of which nothing is trained, is not differentiated."""
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
    """Shapes and constants of a Llama-shaped decoder. Everything that decides a logit is here."""

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
    frozen_layers: int = 0  # so many at the bottom lie apart from the others; the only field that decides no logit

    @property
    def layer_groups(self) -> tuple[LayerGroup, ...]:
        return _groups(self.frozen_layers, self.layers)

    @property
    def sight(self) -> Sight:
        return Sight(causal=True, window=self.sliding_window)


@dataclasses.dataclass(frozen=True)
class EncoderSpec:
    """Shapes and constants of a BERT-shaped encoder. Everything that decides a state is here."""

    backbone: ClassVar[str] = "encoder"

    family: str
    vocab: int
    layers: int
    width: int
    heads: int
    mlp_width: int
    norm_eps: float
    token_types: int
    first_position: int  # row of the table for a text's first token: RoBERTa keeps the rows up to its padding's id free
    max_positions: int

    @property
    def kv_heads(self) -> int:
        return self.heads

    @property
    def head_size(self) -> int:
        return self.width // self.heads

    @property
    def layer_groups(self) -> tuple[LayerGroup, ...]:
        return _groups(0, self.layers)

    @property
    def sight(self) -> Sight:
        return Sight(causal=False, window=None)


Spec = DecoderSpec | EncoderSpec


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a model is computed: nothing here changes a number beyond rounding."""

    mesh: Mesh
    dtype: str = "float32"  # of activations
    product_dtype: str = "float32"  # to which operands of matrix products are rounded, where that is less
    param_dtype: str = "float32"
    attention: str = "plain"  # a key of models.attention.ATTENTION
    remat: str = "none"
    unroll: int = 1  # layers per step of the layer loop


def _rope(hf: dict[str, Any], where: str) -> tuple[float, Llama3Scaling | None]:
    """Reads RoPE from transformers 5 (`rope_parameters`) or older (`rope_theta`, `rope_scaling`) files."""
    rope = dict(hf.get("rope_parameters") or {})
    scaling = rope or dict(hf.get("rope_scaling") or {})
    theta = rope.get("rope_theta", hf.get("rope_theta", 10_000.0))
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return float(theta), None
    if kind != "llama3":
        raise UserError(f"{where}: rope type {kind!r} is not supported; supported: 'default', 'llama3'")
    try:
        return float(theta), Llama3Scaling(
            factor=float(scaling["factor"]),
            low_freq_factor=float(scaling["low_freq_factor"]),
            high_freq_factor=float(scaling["high_freq_factor"]),
            original_max_positions=int(scaling["original_max_position_embeddings"]),
        )
    except KeyError as e:
        raise UserError(f"{where}: rope type 'llama3' needs the field {e.args[0]!r}, which is missing") from e


def _check_neutral(hf: dict[str, Any], where: str, neutral: dict[str, Any]) -> None:
    """Refuses settings that would change the numbers and are not ported."""
    for field, value in neutral.items():
        if hf.get(field, value) != value:
            raise UserError(f"{where}: {field}={hf[field]!r} is not supported (only {value!r} is)")


def _check_multiple(where: str, field: str, size: int, of_field: str, of: int) -> None:
    if size % of:
        raise UserError(f"{where}: {field}={size} is not a multiple of {of_field}={of}")


def _decoder(hf: dict[str, Any], where: str) -> DecoderSpec:
    _check_neutral(hf, where, {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False})
    theta, scaling = _rope(hf, where)
    family, heads, width = hf["model_type"], int(hf["num_attention_heads"]), int(hf["hidden_size"])
    spec = DecoderSpec(
        family=family,
        vocab=int(hf["vocab_size"]),
        layers=int(hf["num_hidden_layers"]),
        width=width,
        heads=heads,
        kv_heads=int(hf.get("num_key_value_heads") or heads),
        head_size=int(hf.get("head_dim") or width // heads),
        mlp_width=int(hf["intermediate_size"]),
        norm_eps=float(hf["rms_norm_eps"]),
        rope_theta=theta,
        rope_scaling=scaling,
        sliding_window=int(hf["sliding_window"]) if family == "mistral" and hf.get("sliding_window") else None,
        tied_embeddings=bool(hf.get("tie_word_embeddings", False)),
        max_positions=int(hf["max_position_embeddings"]),
    )
    _check_multiple(where, "num_attention_heads", heads, "num_key_value_heads", spec.kv_heads)
    return spec


def _encoder(hf: dict[str, Any], where: str) -> EncoderSpec:
    neutral = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
    _check_neutral(hf, where, neutral | {"add_cross_attention": False})
    family = hf["model_type"]
    first_position = int(hf["pad_token_id"]) + 1 if family == "roberta" else 0
    spec = EncoderSpec(
        family=family,
        vocab=int(hf["vocab_size"]),
        layers=int(hf["num_hidden_layers"]),
        width=int(hf["hidden_size"]),
        heads=int(hf["num_attention_heads"]),
        mlp_width=int(hf["intermediate_size"]),
        norm_eps=float(hf["layer_norm_eps"]),
        token_types=int(hf["type_vocab_size"]),
        first_position=first_position,
        max_positions=int(hf["max_position_embeddings"]) - first_position,
    )
    _check_multiple(where, "hidden_size", spec.width, "num_attention_heads", spec.heads)
    return spec


FAMILIES: dict[str, Callable[[dict[str, Any], str], Spec]] = {
    "llama": _decoder,  # Llama 2/3/3.1, SmolLM2, ...
    "mistral": _decoder,  # Mistral v0.1-v0.3, Zephyr
    "bert": _encoder,  # BERT, MiniLM
    "roberta": _encoder,
}


def from_hf(hf: dict[str, Any], where: str = "config.json") -> Spec:
    """Reads a `config.json` dict; what this port cannot compute exactly is refused by name.

    Args:
      hf: the parsed JSON.
      where: the file's name, for errors.

    Raises:
      UserError: unknown family, missing field, or a setting that would change numbers and is not ported.
    """
    family = hf.get("model_type")
    if family not in FAMILIES:
        raise UserError(f"{where}: model_type {family!r} is not supported; supported: {', '.join(FAMILIES)}")
    try:
        return FAMILIES[family](hf, where)
    except KeyError as e:
        raise UserError(f"{where}: the field {e.args[0]!r} is missing") from e
