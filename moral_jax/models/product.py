"""Matrix products, and the types that they round their operands to."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from moral_jax.types import Array

# By platform, the types of activations and of products' operands. On CPU, element-wise work is slower in bfloat16.
ARITHMETIC = {
    "tpu": ("bfloat16", "bfloat16"),
    "gpu": ("bfloat16", "bfloat16"),
    "cpu": ("float32", "float32"),
    "cpu, fast in bfloat16": ("float32", "bfloat16"),
}
# What is float32 is multiplied as float32: by default a TPU rounds such operands to bfloat16, and a GPU to TF32
EXACT = jax.lax.Precision.HIGHEST
AMX_JAX = (0, 12)  # the first version of JAX whose products use AMX


def is_fast_in_bf16(cpu: str, jax_version: str) -> bool:
    """Returns True if JAX's bfloat16 products are at least about twice as fast as float32 ones (docs/performance.md).

    Args:
      cpu: the content of /proc/cpuinfo.
      jax_version: as in `jax.__version__`.
    """
    if "amx_bf16" in cpu:  # these CPUs have AVX512-BF16 too, but gain nothing from it
        return tuple(int(part) for part in jax_version.split(".")[:2]) >= AMX_JAX
    return "avx512_bf16" in cpu


def arithmetic(dtype: str | None, product_dtype: str | None, platform: str) -> tuple[str, str]:
    """Returns the types of activations and of products' operands: those given, otherwise the platform's fastest."""
    info = Path("/proc/cpuinfo")
    if platform == "cpu" and info.exists() and is_fast_in_bf16(info.read_text(), jax.__version__):
        platform = "cpu, fast in bfloat16"
    fast = ARITHMETIC[platform]
    if dtype is None:
        return fast[0], product_dtype or fast[1]
    return dtype, product_dtype or dtype


def _rounded(x: Array, w: Array, row_major: bool) -> Array:
    def placed(x: Array) -> Array:
        # otherwise a transposed operand stays a view, which XLA's CPU backend multiplies at an eighth of the speed
        return with_layout_constraint(x, Layout(tuple(range(x.ndim)))) if row_major else x

    operands = placed(x.astype(jnp.bfloat16)), placed(w.astype(jnp.bfloat16))
    # The result too: XLA turns a product that is transposed next into a product of transposed operands, and has no
    # kernel for batched ones in bfloat16
    return placed(jnp.matmul(*operands, preferred_element_type=jnp.float32))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _bf16_product(x: Array, w: Array, row_major: bool) -> Array:
    return _rounded(x, w, row_major)


def _forward(x: Array, w: Array, row_major: bool) -> tuple[Array, tuple[Array, Array]]:
    return _rounded(x, w, row_major), (x.astype(jnp.bfloat16), w)


def _backward(row_major: bool, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, w = saved
    of_x, of_w = _rounded(g, w.swapaxes(-1, -2), row_major), _rounded(x.swapaxes(-1, -2), g, row_major)
    return of_x, of_w.astype(w.dtype)


_bf16_product.defvjp(_forward, _backward)


def product(x: Array, w: Array, dtype: str) -> Array:
    """Returns x [..., m, k] @ w [..., k, n] in the type of x.

    If x is float32, the operands are rounded to `dtype` before every product, forward and backward; sums stay float32.
    """
    if x.dtype == jnp.float32 and dtype == "bfloat16":
        return _bf16_product(x, w, True)
    return jnp.matmul(x, w.astype(x.dtype), precision=EXACT if x.dtype == jnp.float32 else None)


def operand(x: Array, dtype: str) -> Array:
    """Returns what `product` reads of an operand: x, or x rounded to a narrower type."""
    return x.astype(jnp.bfloat16) if x.dtype == jnp.float32 and dtype == "bfloat16" else x


def float32_product(x: Array, w: Array, dtype: str) -> Array:
    """Returns `product(x, w, dtype)`, but in float32 where x is bfloat16: its sums are not rounded."""
    if x.dtype == jnp.bfloat16:
        return _bf16_product(x.astype(jnp.float32), w, False)
    return product(x, w, dtype)
