"""Checksums of arrays, which do not depend on the sharding and are equal on devices and on the host."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from moral_jax.types import Array

BLOCK = 1 << 16  # numbers that the host processes at once, so that they stay in a core's cache


def _terms(bits: Array, index: Array) -> Array:
    """Returns one uint32 for each number; their sum modulo 2^32 is the checksum.

    A number's bits are mixed with its index and hashed (Wellons' lowbias32: two rounds of xor-shift and
    multiplication). Every step is invertible, so a change of a single number is always detected. Changes of several
    numbers, exchanges included, go undetected as rarely as two random 32-bit numbers agree.
    """
    bits = bits ^ index * np.uint32(0x9E3779B1)
    bits = (bits ^ (bits >> 16)) * np.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * np.uint32(0x846CA68B)
    return bits ^ (bits >> 16)


def _of_leaf(leaf: jax.Array) -> jax.Array:
    bits = jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}").astype(jnp.uint32)
    index = jnp.zeros(leaf.shape, jnp.uint32)
    for axis, size in enumerate(leaf.shape):  # each device makes the indices of its own shard
        index = index * np.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
    return jnp.sum(_terms(bits, index), dtype=jnp.uint32)


@jax.jit
def _of_tree(leaves: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return jax.tree.map(_of_leaf, leaves)


def on_devices(leaves: dict[str, jax.Array]) -> dict[str, int]:
    """Returns the checksums by name of sharded arrays, of up to 32 bits a number.

    All processes call it together, and each gets all checksums.
    """
    return {name: int(total) for name, total in jax.device_get(_of_tree(leaves)).items()}


def on_host(leaf: np.ndarray) -> int:
    """Returns the checksum of an array in host memory."""
    flat = np.ascontiguousarray(leaf).reshape(-1).view(f"uint{8 * leaf.dtype.itemsize}")
    total = 0
    for start, stop in itertools.pairwise([*range(0, flat.size, BLOCK), flat.size]):
        index = np.arange(start, stop).astype(np.uint32)
        total += int(_terms(flat[start:stop].astype(np.uint32), index).sum(dtype=np.uint32))
    return total & 0xFFFFFFFF
