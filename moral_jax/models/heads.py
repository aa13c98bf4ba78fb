"""Heads on the answer's hidden state: a few vocabulary rows, the whole vocabulary's normaliser, a concentration."""

import jax
import jax.numpy as jnp

from moral_jax.types import NEG, Array, Params


def unembedding(params: Params) -> Array:
    """The output table [V, D]: its own, or the input table where both are tied."""
    return params.get("unembedding", params["embedding"])


def option_logits(params: Params, hidden_BQD: Array, option_ids_BQCW: Array) -> Array:
    """Log of the summed weight of each option's surface variants, [B, Q, C] float32; NEG where it has none.

    Only the rows of the named tokens are read: no [.., V] array exists.
    """
    exists_BQCW = option_ids_BQCW >= 0
    rows_BQCWD = jnp.take(unembedding(params), jnp.maximum(option_ids_BQCW, 0), axis=0)
    # float32: differences of a few hundredths between two logits near 20 are the whole signal
    logits_BQCW = jnp.einsum("BQD,BQCWD->BQCW", hidden_BQD.astype(jnp.float32), rows_BQCWD.astype(jnp.float32))
    summed_BQC = jax.nn.logsumexp(jnp.where(exists_BQCW, logits_BQCW, NEG), axis=-1)
    return jnp.where(exists_BQCW.any(-1), summed_BQC, NEG)


def log_normaliser(params: Params, hidden_BQD: Array) -> Array:
    """Log of the sum over the whole vocabulary, [B, Q] float32: the price of knowing the option mass."""
    hidden_D = hidden_BQD.reshape(-1, hidden_BQD.shape[-1])
    logits_V = jnp.matmul(hidden_D, unembedding(params).astype(hidden_D.dtype).T, preferred_element_type=jnp.float32)
    return jax.nn.logsumexp(logits_V, axis=-1).reshape(hidden_BQD.shape[:-1])


def init_concentration(kind: str, value: float, width: int) -> Params:
    """Parameters of the Dirichlet concentration s (alpha = s * p), all float32.

    `fixed` has none; `learned` is one scalar; `predicted` is a linear map of the direction of the answer's hidden state
    that starts at zero, so that every question starts at s = value.
    """
    bias = jnp.log(jnp.float32(value))
    if kind == "fixed":
        return {}
    if kind == "learned":
        return {"bias": bias}
    return {"bias": bias, "kernel": jnp.zeros((width, 1), jnp.float32)}


def log_concentration(head: Params, hidden_BQD: Array, value: float) -> Array:
    """Log s at every question, [B, Q] float32."""
    bias = head.get("bias", jnp.log(jnp.float32(value)))
    if "kernel" not in head:
        return jnp.broadcast_to(bias, hidden_BQD.shape[:-1])
    # Unit length: AdamW moves every weight by the rate, and over all D of them a hidden state as it comes would move
    # log s by several units in one step
    hidden_BQD = hidden_BQD.astype(jnp.float32)
    unit_BQD = hidden_BQD * jax.lax.rsqrt(jnp.sum(jnp.square(hidden_BQD), axis=-1, keepdims=True) + 1e-12)
    return (unit_BQD @ head["kernel"])[..., 0] + bias
