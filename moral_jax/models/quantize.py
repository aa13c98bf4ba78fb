"""Frozen kernels in 8 or 4 bits. A kernel [in, out], stacked or not, becomes a dict of codes and scales:

int8: `int8` [in, out], and `scale` [out], float32, such that an output's largest absolute weight becomes 127
  (arXiv 2208.07339).
nf4: `nf4` [in / 2, out], uint8, with two codes each: row 2i in the lower, row 2i + 1 in the upper four bits; and
  `absmax` [in / 64, out], float32, the largest absolute weight in each block of 64 inputs. A code is the nearest of 16
  quantiles of a normal distribution (arXiv 2305.14314, appendix E).
"""

from collections.abc import Callable

import jax.numpy as jnp

from moral_jax.types import Array, Params

BLOCK = 64
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip


def _divided(x: Array, largest: Array) -> Array:
    """Returns x / largest, and zeros where the largest absolute value is zero."""
    return x / jnp.where(largest == 0, 1, largest)


def int8(kernel: Array) -> Params:
    """Returns the 8-bit codes and scales of a kernel."""
    scale = jnp.max(jnp.abs(kernel), axis=-2).astype(jnp.float32) / 127
    return {"int8": jnp.round(_divided(kernel, scale[..., None, :])).astype(jnp.int8), "scale": scale}


def nf4(kernel: Array) -> Params:
    """Returns the 4-bit codes of a kernel and the largest weight of each block."""
    *stack, rows, columns = kernel.shape
    blocks = kernel.astype(jnp.float32).reshape(*stack, rows // BLOCK, BLOCK, columns)
    absmax = jnp.max(jnp.abs(blocks), axis=-2)
    shares = _divided(blocks, absmax[..., None, :])
    # the code is the number of midpoints below: 15 comparisons, which the compiler fuses into one pass
    codes = sum(((shares > (low + high) / 2).astype(jnp.uint8) for low, high in zip(NF4, NF4[1:], strict=False)))
    pairs = codes.reshape(*stack, rows // 2, 2, columns)
    return {"nf4": pairs[..., 0, :] | (pairs[..., 1, :] << 4), "absmax": absmax}


PACK: dict[str, Callable[[Array], Params]] = {"int8": int8, "nf4": nf4}


def _quantiles(codes: Array) -> Array:
    """Returns the quantile of each code by a tree of selections; on TPU a table look-up would take far longer."""
    values: list[Array] = list(NF4)
    for bit in range(4):
        is_set = (codes >> bit) & 1 == 1
        values = [jnp.where(is_set, odd, even) for even, odd in zip(values[::2], values[1::2], strict=True)]
    return values[0].astype(jnp.float32)


def restored(kernel: Array | Params, dtype: str) -> Array:
    """Returns the kernel that codes stand for; a kernel that is not quantised is only cast."""
    if not isinstance(kernel, dict):
        return kernel.astype(dtype)
    if "int8" in kernel:
        return (kernel["int8"].astype(jnp.float32) * kernel["scale"][..., None, :]).astype(dtype)
    *stack, half, columns = kernel["nf4"].shape
    codes = jnp.stack([kernel["nf4"] & 15, kernel["nf4"] >> 4], axis=-2)
    blocks = _quantiles(codes).reshape(*stack, 2 * half // BLOCK, BLOCK, columns)
    return (blocks * kernel["absmax"][..., None, :]).reshape(*stack, 2 * half, columns).astype(dtype)
