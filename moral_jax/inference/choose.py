"""Chooses the next token from its logits: pure maths, a row for each text.

No sort over the vocabulary: thresholds for top-k and top-p are found by bisection over the 32 bits of a float, which
is exact, and the token by inverting the distribution function with one uniform number, in two levels. What decides is
data, so that texts with different settings share a program.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from moral_jax.types import NEG, Array

BLOCK = 256  # tokens in a block of the distribution function
SIGN = np.uint32(1 << 31)


class Settings(NamedTuple):
    """How the next token of each text is chosen."""

    temperature_S: Array  # float32; 0: the likeliest token
    top_p_S: Array  # float32: the fewest likeliest tokens that have this probability together; 1: all
    top_k_S: Array  # int32: so many likeliest tokens, and ties; 0: all
    min_p_S: Array  # float32: tokens at least so likely as this share of the likeliest; 0: all


class Chosen(NamedTuple):
    """A token for each text, and how likely it was."""

    token_S: Array  # int32
    logp_S: Array  # float32, of the full distribution at the temperature (at 1 where it is 0)
    sampled_logp_S: Array  # float32, of the distribution that it was drawn from


def _ordered(x: Array) -> Array:
    """Returns uint32 that are ordered as these float32 are."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    return jnp.where(bits >= SIGN, ~bits, bits | SIGN)


def _least(ordered_SV: Array, weights_SV: Array, wanted_S: Array) -> Array:
    """Returns the largest threshold [S] at and above which the weights add up to what is wanted, or 0."""

    def bit(number: Array, found_S: Array) -> Array:
        candidate_S = found_S | (jnp.uint32(1) << (31 - number).astype(jnp.uint32))
        above_S = jnp.sum(jnp.where(ordered_SV >= candidate_S[:, None], weights_SV, 0.0), axis=-1)
        return jnp.where(above_S >= wanted_S, candidate_S, found_S)

    return jax.lax.fori_loop(0, 32, bit, jnp.zeros(len(ordered_SV), jnp.uint32))


def _kept(logits_SV: Array, how: Settings) -> Array:
    """Returns the tokens that may be chosen, [S, V] of bool: top-k first, top-p of what is left, then min-p."""
    ordered_SV, p_SV = _ordered(logits_SV), jax.nn.softmax(logits_SV, axis=-1)
    k_S = jnp.where(how.top_k_S > 0, how.top_k_S, logits_SV.shape[-1]).astype(jnp.float32)
    kept_SV = ordered_SV >= _least(ordered_SV, jnp.ones_like(p_SV), k_S)[:, None]
    p_SV = jnp.where(kept_SV, p_SV, 0.0)
    wanted_S = jnp.maximum(how.top_p_S * p_SV.sum(-1), jnp.finfo(jnp.float32).tiny)  # the likeliest at least
    kept_SV &= ordered_SV >= jnp.where(how.top_p_S < 1, _least(ordered_SV, p_SV, wanted_S), 0)[:, None]
    return kept_SV & (p_SV >= how.min_p_S[:, None] * p_SV.max(-1, keepdims=True))


def _inverted(p_SV: Array, uniform_S: Array) -> Array:
    """Returns the token [S] at which the distribution function passes a uniform number; its probability is above 0."""
    S, V = p_SV.shape
    p_SXB = jnp.pad(p_SV, ((0, 0), (0, -V % BLOCK))).reshape(S, -1, BLOCK)
    of_block_SX = p_SXB.sum(-1)
    block_S, rest_S = _place(of_block_SX, uniform_S * of_block_SX.sum(-1))
    p_SB = jnp.take_along_axis(p_SXB, block_S[:, None, None], axis=1)[:, 0]
    return block_S * BLOCK + _place(p_SB, rest_S)[0]


def _place(weights_SX: Array, target_S: Array) -> tuple[Array, Array]:
    """Returns where the running sum passes the target, at a weight above 0, and what is left of the target there."""
    sums_SX = jnp.cumsum(weights_SX, axis=-1)
    last_S = weights_SX.shape[-1] - 1 - jnp.argmax(weights_SX[:, ::-1] > 0, axis=-1)
    place_S = jnp.minimum(jnp.argmax(sums_SX > target_S[:, None], axis=-1), last_S)
    place_S = jnp.where(sums_SX[:, -1] > target_S, place_S, last_S)
    before_S = jnp.take_along_axis(sums_SX - weights_SX, place_S[:, None], axis=-1)[:, 0]
    return place_S, jnp.maximum(target_S - before_S, 0.0)


def _likeliest(logits_SV: Array) -> Array:
    return jnp.argmax(logits_SV, axis=-1).astype(jnp.int32)


def choose(logits_SV: Array, uniform_S: Array, how: Settings) -> Chosen:
    """Chooses a token for each text.

    Args:
      logits_SV: float32.
      uniform_S: float32 in [0, 1).
    """
    is_greedy_S = how.temperature_S <= 0
    scaled_SV = logits_SV / jnp.where(is_greedy_S, 1.0, how.temperature_S)[:, None]
    is_cut = jnp.any((how.top_k_S > 0) | (how.top_p_S < 1) | (how.min_p_S > 0))
    kept_SV = jax.lax.cond(is_cut, _kept, lambda x, _: jnp.ones_like(x, bool), scaled_SV, how)
    p_SV = jnp.where(kept_SV, jnp.exp(scaled_SV - scaled_SV.max(-1, keepdims=True)), 0.0)
    # a CPU takes longer for the argmax than for all else here
    likeliest_S = jax.lax.cond(jnp.any(is_greedy_S), _likeliest, lambda x: jnp.zeros(len(x), jnp.int32), logits_SV)
    token_S = jnp.where(is_greedy_S, likeliest_S, _inverted(p_SV, uniform_S))
    of_token_S = jnp.take_along_axis(scaled_SV, token_S[:, None], axis=-1)[:, 0]
    log_kept_S = jax.nn.logsumexp(jnp.where(kept_SV, scaled_SV, NEG), axis=-1)
    sampled_S = jnp.where(is_greedy_S, 0.0, of_token_S - log_kept_S)
    return Chosen(token_S.astype(jnp.int32), of_token_S - jax.nn.logsumexp(scaled_SV, axis=-1), sampled_S)
