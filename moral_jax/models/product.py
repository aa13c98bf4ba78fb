"""Matrix products, and in which type they read their operands."""

import platform
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from moral_jax.types import Array

# Where JAX runs bf16 products on AMX units, at about four times the rate of float32: from this version on
AMX_JAX = (0, 12)
# Types of activations and of products' operands, by platform. On CPU element-wise work is slower in bfloat16.
ARITHMETIC = {
    "tpu": ("bfloat16", "bfloat16"),
    "gpu": ("bfloat16", "bfloat16"),
    "cpu": ("float32", "float32"),
    "cpu with AMX": ("float32", "bfloat16"),
}


def has_amx() -> bool:
    """Whether JAX has fast bf16 products on this machine's CPU."""
    info = Path("/proc/cpuinfo")
    version = tuple(int(part) for part in jax.__version__.split(".")[:2])
    return version >= AMX_JAX and platform.machine() == "x86_64" and info.exists() and "amx_bf16" in info.read_text()


def arithmetic(dtype: str | None, product_dtype: str | None, platform: str) -> tuple[str, str]:
    """Types of activations and of products' operands: what is asked for, else what is fast on the platform."""
    fast = ARITHMETIC["cpu with AMX" if platform == "cpu" and has_amx() else platform]
    if dtype is None:
        return fast[0], product_dtype or fast[1]
    return dtype, product_dtype or dtype


def _row_major(x: Array) -> Array:
    # else a transposed operand stays a view, which XLA's CPU backend multiplies at an eighth of the rate
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))


def _rounded(x: Array, w: Array) -> Array:
    operands = _row_major(x.astype(jnp.bfloat16)), _row_major(w.astype(jnp.bfloat16))
    # the result too: else XLA turns a product that is transposed next into one of transposed operands, and those of
    # bfloat16 in batches have no kernel at all
    return _row_major(jnp.matmul(*operands, preferred_element_type=jnp.float32))


@jax.custom_vjp
def _bf16_product(x: Array, w: Array) -> Array:
    return _rounded(x, w)


def _forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return _rounded(x, w), (x.astype(jnp.bfloat16), w)


def _backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = saved
    return _rounded(g, w.swapaxes(-1, -2)), _rounded(x.swapaxes(-1, -2), g).astype(w.dtype)


_bf16_product.defvjp(_forward, _backward)


def product(x: Array, w: Array, dtype: str) -> Array:
    """x [..., m, k] @ w [..., k, n] in the type of x; of float32, the operands are rounded to `dtype` before every
    product, forward and backward, and sums stay float32."""
    if x.dtype == jnp.float32 and dtype == "bfloat16":
        return _bf16_product(x, w)
    return jnp.matmul(x, w.astype(x.dtype))
