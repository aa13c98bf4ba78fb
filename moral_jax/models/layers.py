"""Layers: normalisation, linear maps, attention, MLPs."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from moral_jax.models import adapters, cache, quantize, rope
from moral_jax.models.attention import ATTENTION, read_attention, take_positions
from moral_jax.models.cache import Continued
from moral_jax.models.product import product
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

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale_D = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias_D = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        x32 = x.astype(jnp.float32)
        x32 = x32 - jnp.mean(x32, axis=-1, keepdims=True)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + self.eps)
        return (x32 * scale_D + bias_D).astype(x.dtype)


def normalisation(spec: Spec, name: str) -> RMSNorm | LayerNorm:
    """Returns a normalisation of the kind that a model has."""
    if spec.norm == "layer":
        return LayerNorm(spec.norm_eps, name=name)
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


def turns(spec: Spec, positions_BT: Array) -> rope.Tables | None:
    """Returns the tables of all rotations of a model, [R, B, T, size // 2]; None if it has none."""
    ropes = _ropes(spec)
    return rope.tables(ropes, positions_BT) if any(ropes) else None


class Attention(nn.Module):
    """Attention with its projections. With `read_BA`, only these positions have queries.

    Keys and values are kept where the collection `cache.PREFILL` is mutable. `Continued` tokens see those of the parts
    in `cache`.

    Args:
      layer: what this layer takes of its own, without the axis of layers; None where all layers are alike.
      tables: of all rotations; None: queries and keys are not rotated.
    """

    spec: Spec
    compute: ComputeOptions

    @nn.compact
    def __call__(
        self,
        x_BTD: Array,
        layer: LayerInputs | None,
        tables: rope.Tables | None,
        tokens: Tokens | Continued,
        read_BA: Array | None,
    ) -> Array:
        s, how = self.spec, self.compute
        pattern = pattern_of(s, s.kinds[0].window if layer is None else layer.window)
        if tables is not None:
            row = 0 if layer is None else layer.rope
            tables = jax.tree.map(lambda x_RBTH: x_RBTH[row], tables)
        q_BTNH, k_BTKH, v_BTKH = self._projected(x_BTD, tables, read_BA)
        if self.is_mutable_collection(cache.PREFILL) and not self.is_initializing():
            for name, x in zip(cache.KEYS, (k_BTKH, v_BTKH), strict=True):
                self.put_variable(cache.PREFILL, name, x)
        if isinstance(tokens, Continued):
            parts = self._parts(k_BTKH, v_BTKH, tokens)
            out_BTNH = cache.cached_attention(q_BTNH, parts, tokens, pattern, how)
        elif read_BA is None:
            out_BTNH = ATTENTION[how.attention](q_BTNH, k_BTKH, v_BTKH, tokens, pattern, how)
        else:
            out_BTNH = read_attention(q_BTNH, k_BTKH, v_BTKH, tokens, read_BA, pattern, how)
        return Linear(s.width, how.product_dtype, s.out_bias, name="out")(out_BTNH.reshape(*out_BTNH.shape[:2], -1))

    def _projected(self, x_BTD: Array, tables: rope.Tables | None, read_BA: Array | None) -> tuple[Array, Array, Array]:
        """Returns queries, keys and values; queries at the read positions only, if there are any."""
        s, kind = self.spec, self.compute.product_dtype
        read = (lambda x: x) if read_BA is None else functools.partial(take_positions, queries=read_BA)

        def linear(heads: int, name: str) -> Linear:
            return Linear(heads * s.head_size, kind, s.qkv_bias, name=name)

        def finished(x_BTM: Array, heads: int, name: str, tables: rope.Tables | None) -> Array:
            if s.head_norm == "all":
                x_BTM = normalisation(s, f"{name}_norm")(x_BTM)
            x_BTNH = x_BTM.reshape(*x_BTM.shape[:2], heads, s.head_size)
            x_BTNH = constrain(x_BTNH, "BTNH", self.compute.mesh)
            if s.head_norm == "each":
                x_BTNH = normalisation(s, f"{name}_norm")(x_BTNH)
            return x_BTNH if tables is None else rope.rotate(x_BTNH, tables)

        if s.fused:
            sizes = s.heads * s.head_size, s.kv_heads * s.head_size
            q_BTM, k_BTM, v_BTM = jnp.split(
                linear(s.heads + 2 * s.kv_heads, "qkv")(x_BTD), (sizes[0], sum(sizes)), axis=-1
            )
            q_BTM = read(q_BTM)
        else:
            k_BTM, v_BTM = linear(s.kv_heads, "key")(x_BTD), linear(s.kv_heads, "value")(x_BTD)
            q_BTM = linear(s.heads, "query")(read(x_BTD))
        q_BTNH = finished(q_BTM, s.heads, "query", jax.tree.map(read, tables))
        k_BTKH = finished(k_BTM, s.kv_heads, "key", tables)
        v_BTKH = v_BTM.reshape(*v_BTM.shape[:2], s.kv_heads, s.head_size)
        return q_BTNH, k_BTKH, constrain(v_BTKH, "BTNH", self.compute.mesh)

    def _parts(self, k_S1KH: Array, v_S1KH: Array, tokens: Continued) -> dict[str, dict[str, Array]]:
        """Returns the keys and values that texts have, and puts their newest into `recent`."""
        parts: dict[str, dict[str, Array]] = {
            part: {name: self.get_variable(part, name) for name in cache.KEYS} for part in cache.PARTS
        }
        for name, x in zip(cache.KEYS, (k_S1KH, v_S1KH), strict=True):
            recent = parts[cache.RECENT]
            x = x.swapaxes(1, 2)
            recent[name] = jax.lax.dynamic_update_slice_in_dim(recent[name], x, tokens.round, axis=2)
            self.put_variable(cache.RECENT, name, recent[name])
        return parts
