"""The mask of attention: which keys the queries of packed rows see."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from moral_jax.models.spec import AttentionPattern
from moral_jax.types import Array, Tokens


def take_positions(x: Array, queries: slice | Array) -> Array:
    """Returns the entries of an array [B, T, ...] at some queries: a slice of T, or indices [B, A]."""
    if isinstance(queries, slice):
        return x[:, queries]
    return jnp.take_along_axis(x, queries.reshape(*queries.shape, *[1] * (x.ndim - 2)), axis=1)


class Places(NamedTuple):
    """What the mask asks of some tokens of rows, [B, n] each."""

    segments: Array
    ends: Array
    positions: Array  # in the question
    index: Array  # in the row


def places(tokens: Tokens) -> Places:
    """Returns what the mask asks of all tokens."""
    T = tokens.segments_BT.shape[1]
    index_BT = jnp.broadcast_to(jnp.arange(T), tokens.segments_BT.shape)
    return Places(tokens.segments_BT, tokens.ends_BT, tokens.positions_BT, index_BT)


def sees(queries: Places, keys: Places, pattern: AttentionPattern) -> Array:
    """Returns the mask [B, T, S] of bool between some queries and some keys."""
    query = Places(*(x_BT[..., None] for x_BT in queries))
    key = Places(*(x_BS[:, None] for x_BS in keys))
    mask_BTS = (key.segments <= query.segments) & (query.segments < key.ends)
    if pattern.causal:
        mask_BTS &= key.index <= query.index
    if pattern.window is not None:
        apart_BTS = query.positions - key.positions
        mask_BTS &= (apart_BTS if pattern.causal else jnp.abs(apart_BTS)) < pattern.window
    return mask_BTS


def visible(tokens: Tokens, pattern: AttentionPattern, queries: slice | Array) -> Array:
    """Returns the mask [B, T, S] of bool: True where one of the `queries` sees a key.

    A query sees tokens of its own question and of the prefixes that the question shares with others, as far as
    `pattern` allows. For a slice of queries in a causal pattern, keys after the last query are left out.

    Segments are numbered in row order and may nest: a key of segment s and end e is seen by queries of segments
    s .. e - 1. A question has e = s + 1; a shared prefix ends after the last question that shares it. A window
    counts positions in the question.
    """
    row = places(tokens)
    keys = keys_of(pattern, queries, row.index.shape[1])
    asking = jax.tree.map(lambda x_BT: take_positions(x_BT, queries), row)
    return sees(asking, jax.tree.map(lambda x_BT: x_BT[:, keys], row), pattern)


def keys_of(pattern: AttentionPattern, queries: slice | Array, length: int) -> slice:
    """Returns the slice of keys that some of the queries may see."""
    return slice(0, queries.stop if pattern.causal and isinstance(queries, slice) else length)
