"""Disentangled attention (DeBERTa, arXiv 2006.03654): what distances between tokens add to attention scores.

Beside queries times keys, a score has the query times the key of the distance, and the key times the query of the
distance. Keys and queries of distances come from states that all layers share. Distances are those of positions in a
text, so that packed texts have the scores that they have alone.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from moral_jax.models.product import float32_product
from moral_jax.models.spec import Distances
from moral_jax.types import Array


class Projected(NamedTuple):
    """States of distances as a layer's queries and keys."""

    query_RNH: Array
    key_RNH: Array
    spec: Distances


def rows(spec: Distances) -> np.ndarray:
    """Returns the row of the states for each distance from -`longest` to `longest`, as transformers counts them."""
    distances, middle = np.arange(-spec.longest, spec.longest + 1), spec.buckets // 2
    far = np.maximum(np.abs(distances), middle).astype(np.float32)
    steps = np.log(far / middle) / np.log(np.float32((spec.longest - 1) / middle)) * (middle - 1)
    grown = (np.ceil(steps) + middle).astype(np.int32) * np.sign(distances)
    bucket = np.where(np.abs(distances) <= middle, distances, grown)
    return np.clip(bucket + spec.buckets, 0, 2 * spec.buckets - 1).astype(np.int32)


def added(q_BKGTH: Array, k_BKSH: Array, queries_BT: Array, keys_BS: Array, of: Projected, product_dtype: str) -> Array:
    """Returns what is added to scores before they are scaled, [B, K, G, T, S] float32.

    Args:
      queries_BT, keys_BS: positions in their texts.
      of: the states of distances in this layer.
    """
    B, K, G, T, H = q_BKGTH.shape
    longest = of.spec.longest
    apart_BTS = jnp.clip(queries_BT[:, :, None] - keys_BS[:, None, :], -longest, longest)
    row_BTS = jnp.asarray(rows(of.spec))[apart_BTS + longest]

    def times(x_BNMH: Array, states_RNH: Array) -> Array:
        """Multiplies vectors with the states of all distances, [B, N, M, R]."""
        return float32_product(x_BNMH, states_RNH.transpose(1, 2, 0)[None], product_dtype)

    N = K * G
    of_query_BNTR = times(q_BKGTH.reshape(B, N, T, H), of.key_RNH)
    of_key_BNSR = times(jnp.repeat(k_BKSH, G, axis=1), of.query_RNH)
    from_query = jnp.take_along_axis(of_query_BNTR, row_BTS[:, None], axis=-1)
    from_key = jnp.take_along_axis(of_key_BNSR, row_BTS.swapaxes(1, 2)[:, None], axis=-1).swapaxes(-1, -2)
    return (from_query + from_key).reshape(B, K, G, T, -1)
