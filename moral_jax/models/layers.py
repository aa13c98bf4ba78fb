"""Layers: normalisation, linear maps, attention, MLPs, rotary positions."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from moral_jax.models import adapters, cache, quantize
from moral_jax.models.attention import ATTENTION, read_attention, take_positions
from moral_jax.models.cache import Continued
from moral_jax.models.product import product
from moral_jax.models.spec import ComputeOptions, DecoderSpec, Spec
from moral_jax.sharding import constrain
from moral_jax.types import Array, Params, Tokens


class RMSNorm(nn.Module):
    """Root-mean-square normalisation (arXiv 1910.07467), in float32 because a bf16 mean of squares loses digits."""

    eps: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale_D = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x32 = x.astype(jnp.float32)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + self.eps)
        return (x32 * scale_D).astype(x.dtype)


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


class GatedMlp(nn.Module):
    """down(silu(gate(x)) * up(x)), as in Llama."""

    width: int
    compute: ComputeOptions

    @nn.compact
    def __call__(self, x_BTD: Array) -> Array:
        kind = self.compute.product_dtype
        gate_BTF = Linear(self.width, kind, name="gate")(x_BTD)
        up_BTF = Linear(self.width, kind, name="up")(x_BTD)
        hidden_BTF = constrain(nn.silu(gate_BTF) * up_BTF, "BTF", self.compute.mesh)
        return Linear(x_BTD.shape[-1], kind, name="down")(hidden_BTF)


class GeluMlp(nn.Module):
    """down(gelu(up(x))) with biases and the exact gelu, as in BERT."""

    width: int
    compute: ComputeOptions

    @nn.compact
    def __call__(self, x_BTD: Array) -> Array:
        kind = self.compute.product_dtype
        up_BTF = Linear(self.width, kind, biased=True, name="up")(x_BTD)
        hidden_BTF = constrain(nn.gelu(up_BTF, approximate=False), "BTF", self.compute.mesh)
        return Linear(x_BTD.shape[-1], kind, biased=True, name="down")(hidden_BTF)


def rope_frequencies(spec: DecoderSpec) -> Array:
    """Returns the inverse wavelengths [H // 2] of the rotary embedding (arXiv 2104.09864), float32.

    With `rope_scaling`, long wavelengths are stretched by `factor`, short ones are kept, and those between are
    interpolated. This is the rule of Llama 3.1, as in transformers' `llama3` rope type.
    """
    exponents = jnp.arange(0, spec.head_size, 2, dtype=jnp.float32) / spec.head_size
    frequencies = 1.0 / spec.rope_theta**exponents
    s = spec.rope_scaling
    if s is None:
        return frequencies
    wavelengths = 2 * math.pi / frequencies
    smooth = (s.original_max_positions / wavelengths - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)
    smooth = jnp.clip(smooth, 0.0, 1.0)
    return (1 - smooth) * frequencies / s.factor + smooth * frequencies


Rope = tuple[Array, Array]  # cosine and sine, [B, T, H // 2]


def rope_tables(spec: DecoderSpec, positions_BT: Array) -> Rope:
    """Returns cosine and sine [B, T, H // 2] at the given positions, float32 because bf16 cannot count past 256."""
    angles = positions_BT[..., None].astype(jnp.float32) * rope_frequencies(spec)
    return jnp.cos(angles), jnp.sin(angles)


def apply_rope(x_BTNH: Array, rope: Rope) -> Array:
    """Rotates the two halves of every head (the Hugging Face layout: pairs are i and i + H // 2)."""
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    cos, sin = (table[:, :, None, :] for table in rope)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x_BTNH.dtype)


class Attention(nn.Module):
    """Attention with its projections. With `rope`, queries and keys are rotated. With `read_BA`, only these positions
    have queries.

    Keys and values are kept where the collection `cache.PREFILL` is mutable. `Continued` tokens see those of the parts
    in `cache`.
    """

    spec: Spec
    compute: ComputeOptions
    biased: bool

    @nn.compact
    def __call__(self, x_BTD: Array, rope: Rope | None, tokens: Tokens | Continued, read_BA: Array | None) -> Array:
        s, how = self.spec, self.compute

        def project(x_BTD: Array, heads: int, name: str) -> Array:
            y = Linear(heads * s.head_size, how.product_dtype, self.biased, name=name)(x_BTD)
            return constrain(y.reshape(*x_BTD.shape[:2], heads, s.head_size), "BTNH", how.mesh)

        def rotate(x_BTNH: Array, rope: Rope | None) -> Array:
            return x_BTNH if rope is None else apply_rope(x_BTNH, rope)

        k_BTKH = rotate(project(x_BTD, s.kv_heads, "key"), rope)
        v_BTKH = project(x_BTD, s.kv_heads, "value")
        if read_BA is not None:
            x_BTD, rope = jax.tree.map(lambda x: take_positions(x, read_BA), (x_BTD, rope))
        q_BTNH = rotate(project(x_BTD, s.heads, "query"), rope)
        if self.is_mutable_collection(cache.PREFILL) and not self.is_initializing():
            for name, x in zip(cache.KEYS, (k_BTKH, v_BTKH), strict=True):
                self.put_variable(cache.PREFILL, name, x)
        if isinstance(tokens, Continued):
            parts = self._parts(k_BTKH, v_BTKH, tokens)
            out_BTNH = cache.cached_attention(q_BTNH, parts, tokens, s.pattern, how)
        elif read_BA is None:
            out_BTNH = ATTENTION[how.attention](q_BTNH, k_BTKH, v_BTKH, tokens, s.pattern, how)
        else:
            out_BTNH = read_attention(q_BTNH, k_BTKH, v_BTKH, tokens, read_BA, s.pattern, how)
        return Linear(s.width, how.product_dtype, self.biased, name="out")(out_BTNH.reshape(*out_BTNH.shape[:2], -1))

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
