"""Layers: normalisation, linear maps, attention, MLPs."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from moral_jax.models import adapters, cache, disentangled, quantize, rope
from moral_jax.models.attention import ATTENTION, plain_attention, read_attention
from moral_jax.models.cache import Continued
from moral_jax.models.mask import take_positions
from moral_jax.models.product import operand, product
from moral_jax.models.spec import Activation, ComputeOptions, Spec, pattern_of
from moral_jax.sharding import constrain
from moral_jax.types import Array, Params, Tokens


class RMSNorm(nn.Module):
    """Root-mean-square normalisation (arXiv 1910.07467), in float32 because a bf16 mean of squares loses digits.

    States are multiplied by `offset` + the learned scale.
    """

    eps: float
    offset: float = 0.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale_D = self.param("scale", nn.initializers.constant(1.0 - self.offset), (x.shape[-1],))
        x32 = x.astype(jnp.float32)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + self.eps)
        return (x32 * (self.offset + scale_D.astype(jnp.float32))).astype(x.dtype)


class LayerNorm(nn.Module):
    """Layer normalisation (arXiv 1607.06450), in float32 because bf16 means lose digits."""

    eps: float
    biased: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale_D = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x32 = x.astype(jnp.float32)
        x32 = x32 - jnp.mean(x32, axis=-1, keepdims=True)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + self.eps) * scale_D
        if self.biased:
            x32 = x32 + self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return x32.astype(x.dtype)


def normalisation(spec: Spec, name: str) -> RMSNorm | LayerNorm:
    """Returns a normalisation of the kind that a model has."""
    if spec.norm in ("layer", "layer_scale"):
        return LayerNorm(spec.norm_eps, spec.norm == "layer", name=name)
    return RMSNorm(spec.norm_eps, 1.0 if spec.norm == "rms_plus_one" else 0.0, name=name)


class Linear(nn.Module):
    """x @ kernel with a 2-D kernel [in, out], plus the adapter of the kernel if it has one, plus a bias if `biased`.

    The leading axes are folded into one first. The weight gradient then contracts a single axis, which XLA's CPU
    backend runs about twice as fast; on GPU and TPU it makes no difference.
    """

    features: int
    product_dtype: str
    biased: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        rows = x.reshape(-1, x.shape[-1])
        kernel: Array | Params = self.get_variable("params", "kernel")
        if isinstance(kernel, dict):  # quantised
            # dequantised again in the backward pass: otherwise the dequantised kernels of all layers would be kept
            dequantised = jax.checkpoint(lambda x, w: product(x, quantize.restored(w, x.dtype), self.product_dtype))
            y = dequantised(rows, kernel)
        else:
            kernel = self.param("kernel", nn.initializers.normal(0.02), (x.shape[-1], self.features))
            y = product(rows, kernel, self.product_dtype)
        if self.has_variable("adapters", "a"):
            y = adapters.add(y, rows, kernel, self.variables["adapters"], self.product_dtype)
        if self.biased:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)
        return y.reshape(*x.shape[:-1], self.features)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": nn.silu,
    "tanh": jnp.tanh,
    "gelu": functools.partial(nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(nn.gelu, approximate=True),
}


class Mlp(nn.Module):
    """down(act(gate(x)) * up(x)), or without a gate down(act(up(x))). If `fused`, gate and up are one matrix."""

    width: int
    activation: Activation
    gated: bool
    fused: bool
    biased: bool
    compute: ComputeOptions

    @nn.compact
    def __call__(self, x_BTD: Array) -> Array:
        def linear(features: int, name: str) -> Linear:
            return Linear(features, self.compute.product_dtype, self.biased, name=name)

        act = ACTIVATIONS[self.activation]
        if self.fused:
            gate_BTF, up_BTF = jnp.split(linear(2 * self.width, "gate_up")(x_BTD), 2, axis=-1)
            hidden_BTF = act(gate_BTF) * up_BTF
        elif self.gated:
            hidden_BTF = act(linear(self.width, "gate")(x_BTD)) * linear(self.width, "up")(x_BTD)
        else:
            hidden_BTF = act(linear(self.width, "up")(x_BTD))
        hidden_BTF = constrain(hidden_BTF, "BTF", self.compute.mesh)
        return linear(x_BTD.shape[-1], "down")(hidden_BTF)


class LayerInputs(NamedTuple):
    """What a layer takes of its own where layers are not alike; stacked over layers, [L]."""

    window: Array  # int32
    rope: Array  # int32: the row of the tables of rotations


NO_WINDOW = 2**30


def unlike_layers(spec: Spec) -> LayerInputs | None:
    """Returns what every layer takes of its own; None where all layers are alike, so that it is known beforehand."""
    if len(set(spec.kinds)) == 1:
        return None
    ropes = _ropes(spec)
    return LayerInputs(
        np.array([NO_WINDOW if kind.window is None else kind.window for kind in spec.kinds], np.int32),
        np.array([ropes.index(kind.rope) for kind in spec.kinds], np.int32),
    )


def _ropes(spec: Spec) -> list[rope.Rope | None]:
    """Returns the different rotations of a model's layers."""
    return list(dict.fromkeys(kind.rope for kind in spec.kinds))


class Positions(NamedTuple):
    """What all layers know of positions."""

    tables: rope.Tables | None  # of all rotations, [R, B, T, size // 2]
    distances_RD: Array | None  # states of distances between tokens, of models that have some


def positions(spec: Spec, positions_BT: Array, distances_RD: Array | None = None) -> Positions:
    """Returns what all layers of a model know of the positions of a batch."""
    ropes = _ropes(spec)
    return Positions(rope.tables(ropes, positions_BT) if any(ropes) else None, distances_RD)


class Attention(nn.Module):
    """Attention with its projections. With `read_BA`, only these positions have queries.

    Keys and values are kept where the collection `cache.PREFILL` is mutable. `Continued` tokens see those of the parts
    in `cache`.

    Args:
      layer: what this layer takes of its own, without the axis of layers; None where all layers are alike.
    """

    spec: Spec
    compute: ComputeOptions

    @nn.compact
    def __call__(
        self,
        x_BTD: Array,
        layer: LayerInputs | None,
        places: Positions,
        tokens: Tokens | Continued,
        read_BA: Array | None,
    ) -> Array:
        s, how = self.spec, self.compute
        pattern = pattern_of(s, s.kinds[0].window if layer is None else layer.window)
        row = 0 if layer is None else layer.rope
        tables = jax.tree.map(lambda x_RBTH: x_RBTH[row], places.tables)
        q_BTNH, k_BTKH, v_BTKH, distances = self._projected(x_BTD, tables, places.distances_RD, read_BA)
        if self.is_mutable_collection(cache.PREFILL) and not self.is_initializing():
            for name, x in zip(cache.KEYS, (k_BTKH, v_BTKH), strict=True):
                self.put_variable(cache.PREFILL, name, operand(x, how.product_dtype))
        if isinstance(tokens, Continued):
            parts = self._parts(k_BTKH, v_BTKH, tokens)
            out_BTNH = cache.cached_attention(q_BTNH, parts, tokens, pattern, how)
        elif distances is not None and read_BA is None:
            out_BTNH = plain_attention(q_BTNH, k_BTKH, v_BTKH, tokens, pattern, how, distances)
        elif read_BA is None:
            out_BTNH = ATTENTION[how.attention](q_BTNH, k_BTKH, v_BTKH, tokens, pattern, how)
        else:
            out_BTNH = read_attention(q_BTNH, k_BTKH, v_BTKH, tokens, read_BA, pattern, how, distances)
        return Linear(s.width, how.product_dtype, s.out_bias, name="out")(out_BTNH.reshape(*out_BTNH.shape[:2], -1))

    def _projected(
        self, x_BTD: Array, tables: rope.Tables | None, distances_RD: Array | None, read_BA: Array | None
    ) -> tuple[Array, Array, Array, disentangled.Projected | None]:
        """Returns queries (at the read positions only, if there are any), keys, values, and distances as both."""
        s, kind = self.spec, self.compute.product_dtype
        read = (lambda x: x) if read_BA is None else functools.partial(take_positions, queries=read_BA)

        def linear(heads: int, name: str) -> Linear:
            return Linear(heads * s.head_size, kind, s.qkv_bias, name=name)

        def cut(x_BTM: Array) -> Array:
            return constrain(x_BTM.reshape(*x_BTM.shape[:2], -1, s.head_size), "BTNH", self.compute.mesh)

        def finished(x_BTM: Array, name: str, tables: rope.Tables | None) -> Array:
            if s.head_norm == "all":
                x_BTM = normalisation(s, f"{name}_norm")(x_BTM)
            x_BTNH = cut(x_BTM)
            if s.head_norm == "each":
                x_BTNH = normalisation(s, f"{name}_norm")(x_BTNH)
            return x_BTNH if tables is None else rope.rotate(x_BTNH, tables)

        distances = None
        if s.fused:
            ends = s.heads * s.head_size, (s.heads + s.kv_heads) * s.head_size
            q_BTM, k_BTM, v_BTM = jnp.split(linear(s.heads + 2 * s.kv_heads, "qkv")(x_BTD), ends, axis=-1)
            q_BTM = read(q_BTM)
        else:
            query, key = linear(s.heads, "query"), linear(s.kv_heads, "key")
            k_BTM, v_BTM = key(x_BTD), linear(s.kv_heads, "value")(x_BTD)
            q_BTM = query(read(x_BTD))
            if s.distances is not None and distances_RD is not None:
                shape = -1, s.heads, s.head_size
                of_query, of_key = query(distances_RD).reshape(shape), key(distances_RD).reshape(shape)
                distances = disentangled.Projected(of_query, of_key, s.distances)
        q_BTNH = finished(q_BTM, "query", jax.tree.map(read, tables))
        return q_BTNH, finished(k_BTM, "key", tables), cut(v_BTM), distances

    def _parts(self, k_S1KH: Array, v_S1KH: Array, tokens: Continued) -> dict[str, dict[str, Array]]:
        """Returns the keys and values that texts have, and puts their newest into `recent`."""
        parts: dict[str, dict[str, Array]] = {
            part: {name: self.get_variable(part, name) for name in cache.KEYS} for part in cache.PARTS
        }
        for name, x in zip(cache.KEYS, (k_S1KH, v_S1KH), strict=True):
            recent = parts[cache.RECENT]
            x = operand(x.swapaxes(1, 2), self.compute.product_dtype)
            recent[name] = jax.lax.dynamic_update_slice_in_dim(recent[name], x, tokens.round, axis=2)
            self.put_variable(cache.RECENT, name, recent[name])
        return parts
