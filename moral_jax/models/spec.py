"""What a decoder is: one frozen description, read from a Hugging Face `config.json`."""

import dataclasses
from typing import Any, NamedTuple

from jax.sharding import Mesh

from moral_jax.types import UserError

FAMILIES = {"llama": "Llama 2/3/3.1, SmolLM2, ...", "mistral": "Mistral v0.1-v0.3, Zephyr"}


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
    def layer_groups(self) -> tuple["LayerGroup", ...]:
        """The last layer lies alone: of it, only what the answer positions need is computed. So do those at the bottom
        that are frozen: a loop of their own, of which nothing is trained, is not differentiated."""
        frozen, last = self.frozen_layers, self.layers - 1
        groups = (
            LayerGroup("frozen_layers", range(frozen)),
            LayerGroup("layers", range(frozen, last)),
            LayerGroup("last_layer", range(last, self.layers)),
        )
        return tuple(group for group in groups if group.layers)


class LayerGroup(NamedTuple):
    """Layers that lie together in the parameter dict: stacked on a leading axis, but for the last one."""

    name: str
    layers: range

    @property
    def stacked(self) -> bool:
        return self.name != "last_layer"


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a decoder is computed: nothing here changes a number beyond rounding."""

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


def from_hf(hf: dict[str, Any], where: str = "config.json") -> DecoderSpec:
    """Reads a `config.json` dict; what this port cannot compute exactly is refused by name.

    Args:
      hf: the parsed JSON.
      where: the file's name, for errors.

    Raises:
      UserError: unknown family, missing field, or a setting that would change logits and is not ported.
    """
    family = hf.get("model_type")
    if family not in FAMILIES:
        raise UserError(f"{where}: model_type {family!r} is not supported; supported: {', '.join(FAMILIES)}")
    for field, neutral in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
        if hf.get(field, neutral) != neutral:
            raise UserError(f"{where}: {field}={hf[field]!r} is not supported (only {neutral!r} is)")
    theta, scaling = _rope(hf, where)
    try:
        heads, width = int(hf["num_attention_heads"]), int(hf["hidden_size"])
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
    except KeyError as e:
        raise UserError(f"{where}: the field {e.args[0]!r} is missing") from e
    if spec.heads % spec.kv_heads:
        raise UserError(
            f"{where}: num_attention_heads={heads} is not a multiple of num_key_value_heads={spec.kv_heads}"
        )
    return spec
