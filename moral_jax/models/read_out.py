"""One forward pass over a packed batch, and what is read from it.

The backbone returns hidden states at the read positions only, [B, A, D]. Several readings share them: options (a few
rows of a table for each question, or whole texts), log-probabilities (one token of the vocabulary for each position),
and values (a score head with one row). No array [B, T, V] exists; the normaliser of the vocabulary is computed in
blocks of positions.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from moral_jax import sharding
from moral_jax.models import heads
from moral_jax.models.api import Model, module, variables
from moral_jax.models.layers import normalisation
from moral_jax.models.product import float32_product
from moral_jax.models.spec import DecoderSpec, EncoderSpec
from moral_jax.models.stack import KEPT
from moral_jax.types import NEG, Array, Batch, OptionScores, Params, Texts, TextScores, Tokens, TokenScores

POSITIONS_PER_BLOCK = 512  # on a device; bounds the largest array at so many rows of the vocabulary
PRIOR = "prior"  # the column of log-probabilities of options' texts under a prompt that asks nothing


def _hidden(params: Params, model: Model, tokens: Tokens, read_BA: Array) -> Array:
    """Returns the backbone's final hidden states at the read positions, [B, A, D]."""
    return module(model).apply(variables(params, model), tokens, read_BA)


def read_states(params: Params, model: Model, batch: Batch) -> Array:
    """Returns the states that heads read, [B, A, D]: those of the backbone; an encoder's are pooled."""
    return _pooled(params, model, _hidden(params, model, batch.tokens, batch.asks.read_BA))


def _pooled(params: Params, model: Model, hidden_BAD: Array) -> Array:
    """Returns the backbone's states as heads read them."""
    if "pooler" in params.get("score", {}):
        assert isinstance(model.spec, EncoderSpec), "decoders have no pooler"
        hidden_BAD = heads.pooled(params["score"]["pooler"], hidden_BAD, model.spec, model.compute.product_dtype)
    return sharding.constrain(hidden_BAD, "BAD", model.compute.mesh)


@dataclasses.dataclass(frozen=True)
class StatesReadOut:
    """The states of one forward pass, and the readings of `types.ReadOut`."""

    params: Params
    model: Model
    batch: Batch
    hidden_BAD: Array

    @property
    def _table(self) -> heads.Table:
        """The table whose rows are options: the score head's, or the vocabulary's."""
        if self.model.score_rows:
            rows, bias = self.params["score"]["rows"], self.params["score"].get("bias")
            return heads.Table(rows, bias, jnp.float32)
        return self._vocabulary

    @property
    def _vocabulary(self) -> heads.Table:
        return _vocabulary(self.params, self.model, self.hidden_BAD.dtype)

    @jax.named_scope("read_options")
    def options(self) -> OptionScores:
        """Returns option logits and log concentration."""
        asks = self.batch.asks
        log_s_BA = heads.log_concentration(self.params["head"], self.hidden_BAD, self.model.initial_concentration)
        if isinstance(asks, Texts):
            return self._texts(asks, log_s_BA)
        where = asks.read_of_option_BQC, asks.option_ids_BQCW
        return OptionScores(
            logits_BQC=heads.option_logits(self._table, self.hidden_BAD, *where),
            log_concentration_BQ=heads.of_questions(log_s_BA, *where),
        )

    def _texts(self, asks: Texts, log_s_BA: Array) -> OptionScores:
        """Returns the log-probability of every text, less that under a bare prompt if there is such a column, and per
        token if the model is asked so."""
        logp_BQC, tokens_BQC = self.texts()
        exists_BQC, some_BQC = tokens_BQC > 0, jnp.maximum(tokens_BQC, 1e-9)
        logits_BQC = logp_BQC - asks.columns.get(PRIOR, 0.0)
        if self.model.per_token:
            logits_BQC /= some_BQC
        log_s_BQC = heads.by_text(log_s_BA * asks.token_weights_BA, asks) / some_BQC
        log_s_BQ = log_s_BQC.sum(-1) / jnp.maximum(exists_BQC.sum(-1), 1)
        return OptionScores(jnp.where(exists_BQC, logits_BQC, NEG), log_s_BQ)

    @jax.named_scope("read_texts")
    def texts(self) -> TextScores:
        """Returns the log-probability and the length of every text; `batch.asks` must be `Texts`."""
        asks = self.batch.asks
        logp_BA = jnp.where(asks.text_of_BA >= 0, self.logp(asks.target_ids_BA) * asks.token_weights_BA, 0.0)
        return TextScores(heads.by_text(logp_BA, asks), heads.by_text(asks.token_weights_BA, asks))

    @jax.named_scope("read_option_mass")
    def log_option_mass(self, scores: OptionScores) -> Array | None:
        """Returns the log of the total probability [B, Q] of the options' tokens; None where options are no tokens.

        Args:
          scores: as `options` returned them.
        """
        asks = self.batch.asks
        if self.model.score_rows or isinstance(asks, Texts):
            return None
        log_all_BA = heads.log_normaliser(self._table, self.hidden_BAD)
        log_total_BQ = jax.nn.logsumexp(scores.logits_BQC, axis=-1)
        return log_total_BQ - heads.of_questions(log_all_BA, asks.read_of_option_BQC, asks.option_ids_BQCW)

    @jax.named_scope("read_logp")
    def logp(self, target_ids_BA: Array) -> Array:
        """Returns log p of a token of the vocabulary at every read position, [B, A] float32.

        Numerator and denominator are read from the same product, so no result is above zero by more than float32
        rounding. The largest array is one block of positions; the backward pass computes it again, block by block.
        Blocks are cut from every row alike, so that rows stay on their devices.
        """
        return self._blocks(_logp_of, target_ids_BA)

    @jax.named_scope("read_tokens")
    def tokens(self, temperature: float = 1.0) -> TokenScores:
        """Returns log p of every token of `asks: Texts` and the entropy of its distribution, at a temperature."""
        return self._blocks(functools.partial(_tokens_of, temperature), self.batch.asks.target_ids_BA)

    def _blocks(self, of_block: Callable[[Array, Array], Any], target_ids_BA: Array) -> Any:
        """Computes arrays [B, A] block by block, and again in the backward pass.

        Args:
          of_block: (logits [B, P, V], targets [B, P]) -> arrays [B, P].
        """
        how, (B, A, D), table = self.model.compute, self.hidden_BAD.shape, self._vocabulary
        table_DV = table.rows_VD.astype(table.dtype).T
        most = max(1, POSITIONS_PER_BLOCK * sharding.cut_rows(how.mesh) // B)
        size = -(-A // -(-A // most))  # blocks of one size, so that hardly any padding is computed
        padding = -A % size
        hidden_BAD = jnp.pad(self.hidden_BAD, ((0, 0), (0, padding), (0, 0)))
        targets_BA = jnp.pad(target_ids_BA, ((0, 0), (0, padding)))
        blocks = (A + padding) // size
        hidden_XBPD = hidden_BAD.reshape(B, blocks, size, D).swapaxes(0, 1)
        targets_XBP = targets_BA.reshape(B, blocks, size).swapaxes(0, 1)

        @jax.checkpoint
        def block(hidden_BPD: Array, target_BP: Array) -> Any:
            return of_block(_logits(table, table_DV, hidden_BPD, how.product_dtype), target_BP)

        found = jax.lax.map(lambda xs: block(*xs), (hidden_XBPD, targets_XBP))
        return jax.tree.map(lambda x_XBP: x_XBP.swapaxes(0, 1).reshape(B, A + padding)[:, :A], found)

    @jax.named_scope("read_value")
    def value(self) -> Array:
        """Returns what the critic expects, [B, A] float32."""
        return heads.of_direction(self.params["critic"], self.hidden_BAD)


def _vocabulary(params: Params, model: Model, dtype: jnp.dtype) -> heads.Table:
    """Returns the table of a decoder's vocabulary, for states of a type."""
    assert isinstance(model.spec, DecoderSpec), "encoders have no vocabulary to predict"
    return heads.vocabulary(params[model.backbone], model.spec.logit_softcap, dtype)


def _logits(table: heads.Table, table_DV: Array, hidden_BPD: Array, product_dtype: str) -> Array:
    """Returns logits [B, P, V] from a table and its transpose in the type of the states."""
    B, P, D = hidden_BPD.shape
    products = float32_product(hidden_BPD.reshape(B * P, D), table_DV, product_dtype).reshape(B, P, -1)
    return heads.finished(table, products, table.bias_V)


def _logp_of(logits_BPV: Array, target_BP: Array) -> Array:
    """Returns log p of a target at each of P positions, [B, P] float32."""
    target_logits_BP = jnp.take_along_axis(logits_BPV, target_BP[..., None], axis=-1)[..., 0]
    return target_logits_BP - jax.nn.logsumexp(logits_BPV, axis=-1)


def _tokens_of(temperature: float, logits_BPV: Array, target_BP: Array) -> TokenScores:
    """Returns log p of a target and the entropy at each of P positions, at a temperature."""
    logits_BPV = logits_BPV / temperature
    fixed_BPV = jax.lax.stop_gradient(logits_BPV)
    p_BPV = jax.nn.softmax(fixed_BPV, axis=-1)
    entropy_BP = jax.nn.logsumexp(fixed_BPV, axis=-1) - jnp.sum(p_BPV * fixed_BPV, axis=-1)
    return TokenScores(_logp_of(logits_BPV, target_BP), entropy_BP)


def read_out(params: Params, model: Model, batch: Batch) -> StatesReadOut:
    """Runs the forward pass of a batch.

    Args:
      params: all parameters of the model: `frozen | trained`.
      batch: leaves [B, ...].
    """
    return StatesReadOut(params, model, batch, read_states(params, model, batch))


def score_options(params: Params, model: Model, batch: Batch) -> OptionScores:
    """Returns the option read-out of one forward pass."""
    return read_out(params, model, batch).options()


def layer_states(params: Params, model: Model, batch: Batch) -> Array:
    """Returns the states at the read positions in every layer, [L + 1, B, A, D]: what the first layer reads, then what
    each layer gives. A decoder's are not normalised yet.
    """
    how = module(model)
    _, kept = how.apply(variables(params, model), batch.tokens, batch.asks.read_BA, mutable=[KEPT])
    return kept[KEPT]["states"]


def read_layer(params: Params, model: Model, batch: Batch, hidden_BAD: Array) -> StatesReadOut:
    """Returns the read-out of a layer as if it were the last: the logit lens.

    Args:
      hidden_BAD: what `layer_states` has of the layer. Of the last layer, this is the read-out of the model.
    """
    if norm := params[model.backbone].get("final_norm"):
        hidden_BAD = normalisation(model.spec, "final_norm").apply({"params": norm}, hidden_BAD)
    return StatesReadOut(params, model, batch, _pooled(params, model, hidden_BAD))


def next_logits(params: Params, model: Model, hidden_SD: Array) -> Array:
    """Returns a decoder's logits [S, V] of the token after each state, float32.

    The table stands first in the product: as the second operand it would be a transposed view, which CPUs read at half
    the speed (docs/performance.md).
    """
    table = _vocabulary(params, model, hidden_SD.dtype)
    logits_VS = float32_product(table.rows_VD.astype(table.dtype), hidden_SD.T, model.compute.product_dtype)
    return heads.finished(table, logits_VS.T, table.bias_V)


def vocabulary_logits(params: Params, model: Model, tokens_BT: Array) -> Array:
    """Returns a decoder's logits [B, T, V] of unpacked rows, float32. For tests and inspection."""
    one_BT = jnp.ones_like(tokens_BT)
    positions_BT = jnp.broadcast_to(jnp.arange(tokens_BT.shape[1]), tokens_BT.shape)
    hidden_BTD = _hidden(params, model, Tokens(tokens_BT, one_BT, one_BT + 1, positions_BT), positions_BT)
    table = _vocabulary(params, model, hidden_BTD.dtype)
    return _logits(table, table.rows_VD.T, hidden_BTD, str(hidden_BTD.dtype))
