"""Layers of the decoder: normalisation, linear maps, gated MLP, rotary positions."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from moral_jax.models import adapters, quantize
from moral_jax.models.product import product
from moral_jax.models.spec import DecoderSpec, Execution
from moral_jax.sharding import constrain
from moral_jax.types import Array


class RMSNorm(nn.Module):
    """Root-mean-square normalisation (arXiv 1910.07467), in float32 because a bf16 mean of squares loses digits."""

    eps: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale_D = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        x32 = x.astype(jnp.float32)
        x32 = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + self.eps)
        return (x32 * scale_D).astype(x.dtype)


class Linear(nn.Module):
    """x @ kernel with a 2-D kernel [in, out], no bias; where there is an adapter beside the kernel, with that.

    The leading axes are folded into one first: the weight gradient then contracts a single axis, which XLA's CPU
    backend runs about twice as fast; GPU and TPU do not mind.
    """

    features: int
    product_dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        rows, kernel = x.reshape(-1, x.shape[-1]), self.get_variable("params", "kernel")
        if isinstance(kernel, dict):  # quantised
            # restored again in the backward pass, or the kernels of all layers would be kept until then
            restored = jax.checkpoint(lambda x, w: product(x, quantize.restored(w, x.dtype), self.product_dtype))
            y = restored(rows, kernel)
        else:
            kernel = self.param("kernel", nn.initializers.normal(0.02), (x.shape[-1], self.features))
            y = product(rows, kernel, self.product_dtype)
        if self.has_variable("adapters", "a"):
            y = adapters.add(y, rows, kernel, self.variables["adapters"])
        return y.reshape(*x.shape[:-1], self.features)


class GatedMlp(nn.Module):
    """down(silu(gate(x)) * up(x)), as in Llama."""

    width: int
    execution: Execution

    @nn.compact
    def __call__(self, x_BTD: Array) -> Array:
        kind = self.execution.product_dtype
        gate_BTF = Linear(self.width, kind, name="gate")(x_BTD)
        up_BTF = Linear(self.width, kind, name="up")(x_BTD)
        hidden_BTF = constrain(nn.silu(gate_BTF) * up_BTF, "BTF", self.execution.mesh)
        return Linear(x_BTD.shape[-1], kind, name="down")(hidden_BTF)


def rope_frequencies(spec: DecoderSpec) -> Array:
    """Inverse wavelengths [H // 2] of the rotary embedding (arXiv 2104.09864), float32.

    With `rope_scaling`, long wavelengths are stretched by `factor`, short ones kept, and those between are
    interpolated: the rule of Llama 3.1, as in transformers' `llama3` rope type.
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
    """Cosine and sine [B, T, H // 2] at the given positions; float32, as bf16 cannot count past 256."""
    angles = positions_BT[..., None].astype(jnp.float32) * rope_frequencies(spec)
    return jnp.cos(angles), jnp.sin(angles)


def apply_rope(x_BTNH: Array, rope: Rope) -> Array:
    """Rotates the two halves of every head (the Hugging Face layout: pairs are i and i + H // 2)."""
    first, second = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    cos, sin = (table[:, :, None, :] for table in rope)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x_BTNH.dtype)
