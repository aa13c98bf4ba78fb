"""A checksum of an array that does not depend on how it is cut into shards, on devices and on the host alike."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from moral_jax.types import Array

BLOCK = 1 << 16  # numbers that the host handles at once: they stay in a core's cache


def _terms(bits: Array, index: Array) -> Array:
    """One uint32 for each number, whose sum modulo 2^32 is the checksum.

    A number's bits are mixed with its place, and hashed (Wellons' lowbias32: two rounds of xor-shift and
    multiplication). All of it can be undone: no change of a single number goes unseen. Changes of several numbers,
    exchanges too, go unseen as rarely as random numbers of 32 bits agree.
    """
    bits = bits ^ index * np.uint32(0x9E3779B1)
    bits = (bits ^ (bits >> 16)) * np.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * np.uint32(0x846CA68B)
    return bits ^ (bits >> 16)


def _of_leaf(leaf: jax.Array) -> jax.Array:
    bits = jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}").astype(jnp.uint32)
    index = jnp.zeros(leaf.shape, jnp.uint32)
    for axis, size in enumerate(leaf.shape):  # each device makes the places of its own shard
        index = index * np.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
    return jnp.sum(_terms(bits, index), dtype=jnp.uint32)


@jax.jit
def _of_tree(leaves: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return jax.tree.map(_of_leaf, leaves)


def on_devices(leaves: dict[str, jax.Array]) -> dict[str, int]:
    """Checksums by name of arrays of up to 32 bits a number, wherever their shards are: all processes call it together,
    and each gets all."""
    return {name: int(total) for name, total in jax.device_get(_of_tree(leaves)).items()}


def on_host(leaf: np.ndarray) -> int:
    """The same of an array in memory."""
    flat = np.ascontiguousarray(leaf).reshape(-1).view(f"uint{8 * leaf.dtype.itemsize}")
    total = 0
    for start, stop in itertools.pairwise([*range(0, flat.size, BLOCK), flat.size]):
        index = np.arange(start, stop).astype(np.uint32)
        total += int(_terms(flat[start:stop].astype(np.uint32), index).sum(dtype=np.uint32))
    return total & 0xFFFFFFFF
