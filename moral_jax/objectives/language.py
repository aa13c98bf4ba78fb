"""Losses on the tokens of texts: supervised fine-tuning on completions, chats and documents."""

import jax
import jax.numpy as jnp

from moral_jax.objectives.base import Objective
from moral_jax.types import Batch, Metrics, ReadOut, Texts


def sft(read: ReadOut, batch: Batch) -> Metrics:
    """Returns the negative log-likelihood of the trained tokens.

    Every token weighs the same, whatever text or micro-batch it lies in.
    """
    logp_BQC, tokens_BQC = read.texts()
    weights_BQC = batch.asks.counts_BQC
    return {"loss": (-jnp.sum(weights_BQC * logp_BQC), jnp.sum(weights_BQC * tokens_BQC))}


def dft(read: ReadOut, batch: Batch) -> Metrics:
    """Returns -p log p of each trained token with a constant p (dynamic fine-tuning, arXiv 2508.05629): unlikely tokens
    pull less than in `sft`."""
    asks = batch.asks
    logp_BA = read.logp(asks.target_ids_BA)
    of_text_BX = asks.counts_BQC.reshape(len(logp_BA), -1)
    weights_BA = asks.token_weights_BA * jnp.take_along_axis(of_text_BX, jnp.maximum(asks.text_of_BA, 0), axis=1)
    weighted_BA = jax.lax.stop_gradient(jnp.exp(logp_BA)) * logp_BA * weights_BA
    weight = jnp.sum(weights_BA)
    return {"loss": (-jnp.sum(weighted_BA), weight), "nll": (-jnp.sum(logp_BA * weights_BA), weight)}


def _nll(read: ReadOut, batch: Batch) -> Metrics:
    """Returns what validation says of `dft`: the plain likelihood."""
    return {"nll": sft(read, batch)["loss"]}


OBJECTIVES: dict[str, Objective] = {
    "sft": Objective(sft, Texts, judged_by="loss", label="SFT", reads=(), kinds=("texts",)),
    "dft": Objective(dft, Texts, judged_by="nll", label="DFT", reads=(), kinds=("texts",), judge=_nll),
}
