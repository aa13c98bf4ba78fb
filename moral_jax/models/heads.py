"""Heads on the hidden states at the read positions: option logits, the vocabulary's normaliser, concentration."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from moral_jax.models.layers import ACTIVATIONS, LayerNorm
from moral_jax.models.product import EXACT, float32_product, product
from moral_jax.models.spec import EncoderSpec
from moral_jax.types import NEG, Array, Params, Texts


class Table(NamedTuple):
    """A table whose rows score options: a vocabulary's unembedding, or a score head."""

    rows_VD: Array
    bias_V: Array | None
    # what its rows are rounded to before a product: the numerator and the denominator of a probability round alike,
    # or the probabilities of options would sum to more than 1
    dtype: jnp.dtype
    softcap: float | None = None


def unembedding(params: Params) -> Array:
    """Returns the output table [V, D], which is the input table where both are tied."""
    return params.get("unembedding", params["embedding"])


def vocabulary(params: Params, softcap: float | None, dtype: jnp.dtype) -> Table:
    """Returns the table of a decoder's vocabulary.

    Args:
      params: the decoder's.
      softcap: as of its spec.
      dtype: of the states that are read.
    """
    return Table(unembedding(params), params.get("unembedding_bias"), dtype, softcap)


def finished(table: Table, products: Array, bias: Array | None) -> Array:
    """Returns logits from products with rows of a table: the bias of the rows is added, and then all are capped."""
    if bias is not None:
        products = products + bias.astype(jnp.float32)
    return products if table.softcap is None else table.softcap * jnp.tanh(products / table.softcap)


def option_logits(table: Table, hidden_BAD: Array, read_of_option_BQC: Array, option_ids_BQCW: Array) -> Array:
    """Returns the log-sum-exp over the logits of each option's surface variants, [B, Q, C] float32; NEG if it has none.

    Only the rows of the table that are named are read: no array [..., V] exists.

    Args:
      read_of_option_BQC: index into A of the state that each option is read from.
      option_ids_BQCW: rows of the table; -1 where there is no variant.
    """
    exists_BQCW, ids_BQCW = option_ids_BQCW >= 0, jnp.maximum(option_ids_BQCW, 0)
    rows_BQCWD = jnp.take(table.rows_VD, ids_BQCW, axis=0).astype(table.dtype).astype(jnp.float32)
    hidden_BQCD = _at_options(hidden_BAD, read_of_option_BQC)
    # float32: differences of a few hundredths between two logits near 20 are the whole signal
    logits_BQCW = jnp.einsum("BQCD,BQCWD->BQCW", hidden_BQCD.astype(jnp.float32), rows_BQCWD, precision=EXACT)
    bias_BQCW = None if table.bias_V is None else jnp.take(table.bias_V, ids_BQCW, axis=0)
    logits_BQCW = finished(table, logits_BQCW, bias_BQCW)
    summed_BQC = jax.nn.logsumexp(jnp.where(exists_BQCW, logits_BQCW, NEG), axis=-1)
    return jnp.where(exists_BQCW.any(-1), summed_BQC, NEG)


def _at_options(values: Array, read_of_option_BQC: Array) -> Array:
    """Gathers values [B, A, ...] at the read position of each option, [B, Q, C, ...]."""
    return jax.vmap(lambda row, read_of_option_QC: row[read_of_option_QC])(values, read_of_option_BQC)


def by_text(values_BA: Array, asks: Texts) -> Array:
    """Sums values at read positions over the tokens of each text, [B, Q, C].

    By comparing with every text and not by scattering: a reduction is exact, and fast on every platform.
    """
    Q, C = asks.counts_BQC.shape[-2:]
    belongs_BAX = asks.text_of_BA[..., None] == jnp.arange(Q * C)
    summed_BX = jnp.sum(jnp.where(belongs_BAX, values_BA[..., None], 0.0), axis=-2)
    return summed_BX.reshape(*summed_BX.shape[:-1], Q, C)


def of_questions(values_BA: Array, read_of_option_BQC: Array, option_ids_BQCW: Array) -> Array:
    """Averages values at the read positions [B, A] over each question's options, [B, Q]."""
    exists_BQC = (option_ids_BQCW >= 0).any(-1)
    summed_BQ = jnp.sum(jnp.where(exists_BQC, _at_options(values_BA, read_of_option_BQC), 0.0), axis=-1)
    return summed_BQ / jnp.maximum(exists_BQC.sum(-1), 1)


def log_normaliser(table: Table, hidden_BAD: Array) -> Array:
    """Returns the log-sum-exp over the whole vocabulary, [B, A] float32. Costly; only the option mass needs it."""
    hidden_D = hidden_BAD.reshape(-1, hidden_BAD.shape[-1])
    logits_V = float32_product(hidden_D, table.rows_VD.astype(table.dtype).T, "float32")
    logits_V = finished(table, logits_V, table.bias_V)
    return jax.nn.logsumexp(logits_V, axis=-1).reshape(hidden_BAD.shape[:-1])


def init_score(rows: int, width: int, rng: Array) -> Params:
    """Returns a new score head with `rows` rows, float32.

    One row scores every option, and has no bias, which would add a constant to all options. Several rows are the scores
    of classes.
    """
    score: Params = {"rows": 0.02 * jax.random.normal(rng, (rows, width))}
    if rows > 1:
        score["bias"] = jnp.zeros((rows,))
    return score


def init_pooler(spec: EncoderSpec, rng: Array) -> Params:
    """Returns a new map before an encoder's score head, float32."""
    pooler: Params = {"kernel": 0.02 * jax.random.normal(rng, (spec.width, spec.width))}
    if spec.pooler_bias:
        pooler["bias"] = jnp.zeros((spec.width,))
    if spec.pooler_norm:
        pooler["norm"] = LayerNorm(spec.norm_eps, spec.norm == "layer").init(rng, jnp.zeros((spec.width,)))["params"]
    return pooler


def pooled(pooler: Params, hidden_BAD: Array, spec: EncoderSpec, product_dtype: str) -> Array:
    """Returns act(dense(x)) of every state, normalised where the encoder has that: BERT's pooler, and the first part of
    the classification heads of others.
    """
    y = product(hidden_BAD.reshape(-1, hidden_BAD.shape[-1]), pooler["kernel"], product_dtype)
    if "bias" in pooler:
        y = y + pooler["bias"].astype(y.dtype)
    y = ACTIVATIONS[spec.pooler](y)
    if "norm" in pooler:
        y = LayerNorm(spec.norm_eps, spec.norm == "layer").apply({"params": pooler["norm"]}, y)
    return y.reshape(hidden_BAD.shape)


def init_concentration(kind: str, value: float, width: int) -> Params:
    """Returns the parameters of the Dirichlet concentration s (alpha = s * p), all float32.

    `fixed` has none; `learned` is one scalar; `predicted` is a linear map of the direction of the hidden state at the
    read position. The map starts at zero, so that every question starts at s = value.
    """
    bias = jnp.log(jnp.float32(value))
    if kind == "fixed":
        return {}
    if kind == "learned":
        return {"bias": bias}
    return {"bias": bias, "kernel": jnp.zeros((width, 1), jnp.float32)}


def log_concentration(head: Params, hidden_BAD: Array, value: float) -> Array:
    """Returns log s at every read position, [B, A] float32."""
    bias = head.get("bias", jnp.log(jnp.float32(value)))
    if "kernel" not in head:
        return jnp.broadcast_to(bias, hidden_BAD.shape[:-1])
    return of_direction(head, hidden_BAD)


def init_critic(width: int) -> Params:
    """Returns a new critic, float32: a linear map of the direction of the hidden state. It expects 0 everywhere."""
    return {"bias": jnp.float32(0), "kernel": jnp.zeros((width, 1), jnp.float32)}


def of_direction(head: Params, hidden_BAD: Array) -> Array:
    """Returns a linear map of the direction of every state, [B, A] float32.

    States have unit length there, because AdamW moves every weight by the learning rate: summed over all D weights, a
    hidden state of any length would move the result by several units in one step.
    """
    hidden_BAD = hidden_BAD.astype(jnp.float32)
    unit_BAD = hidden_BAD * jax.lax.rsqrt(jnp.sum(jnp.square(hidden_BAD), axis=-1, keepdims=True) + 1e-12)
    return jnp.matmul(unit_BAD, head["kernel"], precision=EXACT)[..., 0] + head["bias"]
