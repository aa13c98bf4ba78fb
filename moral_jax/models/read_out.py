"""One forward pass over a packed batch, and what is read from it.

The backbone returns hidden states at the read positions only, [B, A, D]. Three readings share them: options (a few rows
of a table for each question), log-probabilities (one token of the vocabulary for each position), and values (a score
head with one row). No array [B, T, V] exists; the normaliser of the vocabulary is computed in blocks of positions.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from moral_jax import sharding
from moral_jax.models import adapters, heads
from moral_jax.models.api import Model, module
from moral_jax.types import Array, Batch, OptionScores, Params, Tokens

POSITIONS_PER_BLOCK = 512  # of a block of the normaliser; bounds the largest array at so many rows of the vocabulary


def _hidden(params: Params, model: Model, tokens: Tokens, read_BA: Array) -> Array:
    """Returns the backbone's final hidden states at the read positions, [B, A, D]."""
    adapting = adapters.scaled(params.get("adapters", {}), model.adapter)
    variables = {"params": params[model.backbone], "adapters": adapting}
    return module(model).apply(variables, tokens, read_BA)


def read_states(params: Params, model: Model, batch: Batch) -> Array:
    """Returns the states that heads read, [B, A, D]: those of the backbone; an encoder's are pooled."""
    hidden_BAD = _hidden(params, model, batch.tokens, batch.asks.read_BA)
    if "pooler" in params.get("score", {}):
        hidden_BAD = heads.pooled(params["score"]["pooler"], hidden_BAD, model.compute.product_dtype)
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
            return heads.Table(self.params["score"]["rows"], self.params["score"].get("bias"))
        return self._vocabulary

    @property
    def _vocabulary(self) -> heads.Table:
        return heads.Table(heads.unembedding(self.params[self.model.backbone]), None)

    @jax.named_scope("read_options")
    def options(self) -> OptionScores:
        """Returns option logits and log concentration; `batch.asks` must be `Options`."""
        asks = self.batch.asks
        log_s_BA = heads.log_concentration(self.params["head"], self.hidden_BAD, self.model.initial_concentration)
        where = asks.read_of_option_BQC, asks.option_ids_BQCW
        return OptionScores(
            logits_BQC=heads.option_logits(self._table, self.hidden_BAD, *where),
            log_concentration_BQ=heads.of_questions(log_s_BA, *where),
        )

    @jax.named_scope("read_option_mass")
    def log_option_mass(self, scores: OptionScores) -> Array | None:
        """Returns the log of the total probability [B, Q] of the options' tokens; None where options are no tokens.

        Args:
          scores: as `options` returned them.
        """
        if self.model.score_rows:
            return None
        asks = self.batch.asks
        log_all_BA = heads.log_normaliser(self._table, self.hidden_BAD)
        log_total_BQ = jax.nn.logsumexp(scores.logits_BQC, axis=-1)
        return log_total_BQ - heads.of_questions(log_all_BA, asks.read_of_option_BQC, asks.option_ids_BQCW)

    @jax.named_scope("read_logp")
    def logp(self, target_ids_BA: Array) -> Array:
        """Returns log p of a token of the vocabulary at every read position, [B, A] float32.

        Numerator and denominator round the table alike, so no result is above zero by more than float32 rounding. The
        normaliser is recomputed in the backward pass, block by block.
        """
        rows_VD = self._vocabulary.rows_VD.astype(self.hidden_BAD.dtype)
        block = functools.partial(_block_logp, rows_VD)
        flat_PD, flat_P = self.hidden_BAD.reshape(-1, self.hidden_BAD.shape[-1]), target_ids_BA.reshape(-1)
        count = flat_P.shape[0]
        padding = -count % min(POSITIONS_PER_BLOCK, count)
        flat_PD, flat_P = jnp.pad(flat_PD, ((0, padding), (0, 0))), jnp.pad(flat_P, (0, padding))
        blocks = -(-count // POSITIONS_PER_BLOCK)
        hidden_XPD = flat_PD.reshape(blocks, -1, flat_PD.shape[-1])
        logp_XP = jax.lax.map(lambda xs: jax.checkpoint(block)(*xs), (hidden_XPD, flat_P.reshape(blocks, -1)))
        return logp_XP.reshape(-1)[:count].reshape(target_ids_BA.shape)

    @jax.named_scope("read_value")
    def value(self) -> Array:
        """Returns the score head's output [B, A] float32; the head must have one row."""
        row_D = self.params["score"]["rows"][0]
        return self.hidden_BAD.astype(jnp.float32) @ row_D.astype(jnp.float32)


def _block_logp(rows_VD: Array, hidden_PD: Array, target_P: Array) -> Array:
    """Returns log p of a target at each of P positions, [P] float32."""
    logits_PV = jnp.matmul(hidden_PD, rows_VD.T, preferred_element_type=jnp.float32)
    target_logits_P = jnp.take_along_axis(logits_PV, target_P[:, None], axis=1)[:, 0]
    return target_logits_P - jax.nn.logsumexp(logits_PV, axis=-1)


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


def score_options_and_mass(params: Params, model: Model, batch: Batch) -> tuple[OptionScores, Array | None]:
    """Returns the option read-out and the log of the options' total probability [B, Q]; None without a vocabulary."""
    read = read_out(params, model, batch)
    scores = read.options()
    return scores, read.log_option_mass(scores)


def vocabulary_logits(params: Params, model: Model, tokens_BT: Array) -> Array:
    """Returns a decoder's logits [B, T, V] of unpacked rows, float32. For tests and inspection."""
    one_BT = jnp.ones_like(tokens_BT)
    positions_BT = jnp.broadcast_to(jnp.arange(tokens_BT.shape[1]), tokens_BT.shape)
    hidden_BTD = _hidden(params, model, Tokens(tokens_BT, one_BT, one_BT + 1, positions_BT), positions_BT)
    table_VD = heads.unembedding(params[model.backbone]).astype(hidden_BTD.dtype)
    return jnp.einsum("BTD,VD->BTV", hidden_BTD, table_VD).astype(jnp.float32)
