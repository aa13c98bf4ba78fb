"""The loss on votes and texts in one batch, where options are read as texts of their own.

A question with several texts is one with votes, a question with a single text is one to learn word by word.
"""

import jax.numpy as jnp

from moral_jax.objectives.base import Objective
from moral_jax.objectives.votes import soft_cross_entropy
from moral_jax.types import Batch, Metrics, ReadOut, Texts


def votes_and_texts(read: ReadOut, batch: Batch) -> Metrics:
    """Soft cross-entropy of every question with votes, and - log p of every token of the other texts.

    A question with votes weighs as much as a token: its answer is about one. So batches add up, and the loss is what an
    encoder-decoder trained on labels and texts alike has.
    """
    asks = batch.asks
    logp_BQC, tokens_BQC = read.texts()
    has_votes_BQ = jnp.sum(tokens_BQC > 0, axis=-1) > 1
    of_votes = batch._replace(asks=asks._replace(weights_BQ=jnp.where(has_votes_BQ, asks.weights_BQ, 0.0)))
    votes, n_votes = soft_cross_entropy(read, of_votes)["loss"]
    of_text_BQC = jnp.where(has_votes_BQ[..., None], 0.0, asks.counts_BQC)  # the weight of a text
    texts, n_tokens = (jnp.sum(of_text_BQC * x_BQC) for x_BQC in (-logp_BQC, tokens_BQC))
    return {
        "loss": (votes + texts, n_votes + n_tokens),
        "cross_entropy": (votes, n_votes),
        "nll": (texts, n_tokens),
    }


OBJECTIVES: dict[str, Objective] = {
    "votes_and_texts": Objective(
        votes_and_texts,
        Texts,
        judged_by="cross_entropy",
        label="CE-and-SFT-tuned",
        reads=("initial_concentration",),
        kinds=("mixed",),
    )
}
