"""Model specs: the shapes and constants of a model."""

import dataclasses
from typing import ClassVar, Literal, NamedTuple

from jax.sharding import Mesh

from moral_jax.models.rope import Rope
from moral_jax.types import Array


class AttentionPattern(NamedTuple):
    """The positions of its own question that a position sees, and how it weighs them.

    If `causal`, it sees none after itself. It sees positions less than `window` away (None: all).
    Scores are multiplied by `scale` (None: by one over the root of the head size), and capped: `softcap` *
    tanh(score / `softcap`).
    """

    causal: bool
    window: int | Array | None
    scale: float | None = None
    softcap: float | None = None


class LayerGroup(NamedTuple):
    """Layers that lie together in the parameter dict: stacked on a leading axis, except for the last layer."""

    name: str
    layers: range

    @property
    def stacked(self) -> bool:
        return self.name not in (FIRST, LAST)


FIRST, LAST = "first_layer", "last_layer"


def layer_groups(layers: int, frozen: int, first_apart: bool = False) -> tuple[LayerGroup, ...]:
    """Divides the layers of a model into groups, each a loop of its own.

    The last layer is its own group, because only its read positions are computed. The lowest `frozen` layers are a
    group, because a loop without trained parameters is not differentiated. If `first_apart`, the first layer has other
    parameters than the rest.
    """
    first = int(first_apart)
    groups = (
        LayerGroup(FIRST, range(first)),
        LayerGroup("frozen_layers", range(first, frozen)),
        LayerGroup("layers", range(max(first, frozen), layers - 1)),
        LayerGroup(LAST, range(layers - 1, layers)),
    )
    return tuple(group for group in groups if group.layers)


class LayerKind(NamedTuple):
    """What may differ from layer to layer of a model."""

    window: int | None  # as of AttentionPattern
    rope: Rope | None  # None: queries and keys are not rotated


Activation = Literal["silu", "gelu", "gelu_tanh"]


@dataclasses.dataclass(frozen=True)
class DecoderSpec:
    """Shapes and constants of a decoder: everything that decides a logit."""

    backbone: ClassVar[str] = "decoder"
    causal: ClassVar[bool] = True
    first_apart: ClassVar[bool] = False
    distances: ClassVar[None] = None

    family: str
    vocab: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    mlp_width: int
    kinds: tuple[LayerKind, ...]  # of every layer
    norm: Literal["rms", "rms_plus_one", "layer"]  # plus one: (1 + w) * x
    norm_eps: float
    # which states of a layer's two parts are normalised: what they read, what they add, both, or what both read at once
    norms: Literal["before", "after", "both", "parallel"]
    head_norm: Literal["none", "each", "all"]  # of queries and keys: over each head, or over all of them
    fused: bool  # one matrix for queries, keys and values, and one for gate and up
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    activation: Activation
    gated: bool  # down(activation(gate(x)) * up(x)), otherwise down(activation(up(x)))
    score_scale: float  # attention scores are multiplied by it
    score_softcap: float | None  # c * tanh(x / c) of attention scores
    embedding_scale: float
    logit_softcap: float | None
    tied_embeddings: bool
    unembedding_bias: bool
    max_positions: int


@dataclasses.dataclass(frozen=True)
class Distances:
    """DeBERTa's disentangled attention (arXiv 2006.03654): each layer weighs states of distances between tokens.

    Distances below half of `buckets` have a state each, farther ones share states in steps that grow to `longest`.
    """

    buckets: int
    longest: int


@dataclasses.dataclass(frozen=True)
class EncoderSpec:
    """Shapes and constants of an encoder: everything that decides a hidden state."""

    backbone: ClassVar[str] = "encoder"
    causal: ClassVar[bool] = False
    head_norm: ClassVar[str] = "none"
    score_softcap: ClassVar[None] = None

    family: str
    vocab: int
    layers: int
    width: int
    heads: int
    mlp_width: int
    kinds: tuple[LayerKind, ...]  # of every layer
    norm: Literal["layer", "layer_scale"]  # the latter has no bias
    norm_eps: float
    norms: Literal["sum", "before"]  # BERT normalises the sum of what a part reads and what it adds
    first_apart: bool  # the first layer reads the embeddings as they are, without a norm of its own
    fused: bool
    qkv_bias: bool
    mlp_bias: bool
    pooler_bias: bool
    activation: Activation
    gated: bool
    distances: Distances | None
    learned_positions: bool
    pooler: Literal["tanh", "gelu"]  # the activation before the head
    pooler_norm: bool  # behind it
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
    def out_bias(self) -> bool:
        return self.qkv_bias

    @property
    def score_scale(self) -> float:
        """One over the root of the head size, times the number of parts of a score."""
        return (self.head_size * (3 if self.distances else 1)) ** -0.5


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


def pattern_of(spec: Spec, window: int | Array | None) -> AttentionPattern:
    """Returns the pattern of a layer with a window."""
    return AttentionPattern(spec.causal, window, spec.score_scale, spec.score_softcap)
