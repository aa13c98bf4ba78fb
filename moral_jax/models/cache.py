"""Keys and values of tokens that were computed before, so that a text goes on without computing its beginning again.

A text in progress has three parts, and its next query sees all of them:

  prefix  [G, K, P, H]  the prompt; computed once for the n texts of a group that go on from it, and read once for them
  own     [S, K, C, H]  what a text has of its own; S = G * n, and text s belongs to group s // n
  recent  [S, K, R, H]  the tokens of this call, one a round; they join `own` at the end of the call

Heads come before places, as products want them: nothing is laid out anew in a round. All are kept in the type that
products read (`product.operand`).

`own` and `prefix` are only read within a call. So a loop over layers need not copy them, and each round writes at one
place for all texts. Sizes are static; how much of them is filled is data (`Continued`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from moral_jax.models.attention import scaled
from moral_jax.models.product import float32_product, product
from moral_jax.models.spec import AttentionPattern, ComputeOptions
from moral_jax.types import NEG, Array

PREFILL = "prefill"  # the collection of Flax variables that keys and values of packed rows are kept in
PREFIX, OWN, RECENT = PARTS = ("prefix", "own", "recent")  # collections too
KEYS = ("key", "value")  # what a layer keeps of a token


class Continued(NamedTuple):
    """One more token of every text."""

    tokens_BT: Array  # int32 [S, 1]
    positions_BT: Array  # int32 [S, 1]: place in the text, the prompt counted in
    prompt_lengths_G: Array  # int32
    own_lengths_S: Array  # int32: tokens in `own`
    round: Array  # int32: how many tokens of this call came before


def _visible(tokens: Continued, size: tuple[int, int, int], pattern: AttentionPattern) -> Array:
    """Returns which keys of the three parts each text sees, [S, P + C + R] of bool."""
    P, C, R = size
    texts = len(tokens.own_lengths_S)
    prompt_S1 = jnp.repeat(tokens.prompt_lengths_G, texts // len(tokens.prompt_lengths_G))[:, None]
    own_S1 = tokens.own_lengths_S[:, None]
    places = [jnp.arange(n)[None] for n in (P, C, R)]
    is_filled = places[0] < prompt_S1, places[1] < own_S1, jnp.broadcast_to(places[2] <= tokens.round, (texts, R))
    if pattern.window is None:
        return jnp.concatenate(is_filled, axis=1)
    starts = jnp.zeros_like(prompt_S1), prompt_S1, prompt_S1 + own_S1
    near = [tokens.positions_BT - (start + place) < pattern.window for start, place in zip(starts, places, strict=True)]
    return jnp.concatenate(is_filled, axis=1) & jnp.concatenate(near, axis=1)


def cached_attention(
    q_S1NH: Array, parts: dict[str, dict[str, Array]], tokens: Continued, pattern: AttentionPattern, how: ComputeOptions
) -> Array:
    """Attends from the newest token of every text to all before it and itself, [S, 1, N, H].

    Args:
      parts: `key` and `value` of `prefix`, `own` and `recent`; the newest token is in `recent`.
    """
    S, _, N, H = q_S1NH.shape
    groups, K, P, _ = parts[PREFIX]["key"].shape
    sizes = P, parts[OWN]["key"].shape[2], parts[RECENT]["key"].shape[2]
    readers = {PREFIX: groups, OWN: S, RECENT: S}  # whose queries read a part together

    def rows(x: Array, of: int) -> Array:
        # the queries of a group, or of a text, that read one key head: [of, K, rows, ...]
        x = x.reshape(of, S // of, K, N // K, -1).swapaxes(1, 2)
        return x.reshape(of, K, S // of * (N // K), -1)

    def per_text(x: Array, of: int) -> Array:
        return x.reshape(of, K, S // of, N // K, -1).swapaxes(1, 2).reshape(S, K, N // K, -1)

    scores = []
    for name, of in readers.items():
        k_XKHM = parts[name]["key"].swapaxes(-1, -2)
        scores.append(per_text(float32_product(rows(q_S1NH, of), k_XKHM, how.product_dtype), of))
    scores_SKQM = scaled(jnp.concatenate(scores, axis=-1), H, pattern)
    mask_SM = _visible(tokens, sizes, pattern)
    weights = jax.nn.softmax(jnp.where(mask_SM[:, None, None], scores_SKQM, NEG), axis=-1).astype(q_S1NH.dtype)
    out, start = jnp.zeros((S, K, N // K, H), q_S1NH.dtype), 0
    for (name, of), size in zip(readers.items(), sizes, strict=True):
        part = weights[..., start : start + size].reshape(S, 1, N, size)
        out += per_text(product(rows(part, of), parts[name]["value"], how.product_dtype), of)
        start += size
    return out.reshape(S, 1, N, H)


def room(prefill: Any, texts: int, places: int) -> Any:
    """Returns the shapes of a part: of each leaf of `prefill` [..., B, T, K, H] one of [..., texts, K, places, H]."""

    def of_leaf(x: Any) -> jax.ShapeDtypeStruct:
        *layers, _, _, K, H = x.shape
        return jax.ShapeDtypeStruct((*layers, texts, K, places, H), x.dtype)

    return jax.tree.map(of_leaf, prefill)


def recent_of(own: Any, rounds: int) -> Any:
    """Returns room for the tokens of a call."""
    return jax.tree.map(lambda x: jnp.zeros((*x.shape[:-2], rounds, x.shape[-1]), x.dtype), own)


def insert(prefix: Any, prefill: Any, rows_Q: Array, starts_Q: Array, groups_Q: Array) -> Any:
    """Returns the prefixes with some prompts of packed rows in the places of some groups.

    Args:
      prefix: leaves [..., G, K, P, H].
      prefill: leaves [..., B, T, K, H], the keys and values of packed rows.
      rows_Q, starts_Q: where each prompt begins.
      groups_Q: the group that it is for; G or more: none.
    """

    def of_leaf(into: Array, kept: Array) -> Array:
        P, T = into.shape[-2], kept.shape[-3]
        places_QP = jnp.minimum(starts_Q[:, None] + jnp.arange(P), T - 1)  # what lies behind a prompt is never seen
        found = kept[..., rows_Q[:, None], places_QP, :, :].swapaxes(-2, -3)
        return into.at[..., groups_Q, :, :, :].set(found, mode="drop")

    return jax.tree.map(of_leaf, prefix, prefill)


def merged(own: Any, recent: Any, lengths_S: Array) -> Any:
    """Returns what texts have of their own with the tokens of a call behind it.

    Where that finds no room, a text is over; its last places hold anything then.
    """

    def of_text(into: Array, new: Array, length: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(into, new, length, axis=into.ndim - 2)

    def of_leaf(into: Array, new: Array) -> Array:
        texts = into.ndim - 4
        return jax.vmap(of_text, in_axes=(texts, texts, 0), out_axes=texts)(into, new, lengths_S)

    return jax.tree.map(of_leaf, own, recent)
