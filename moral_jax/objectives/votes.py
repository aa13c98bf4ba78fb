"""Losses on vote distributions. Options that do not exist have the logit NEG: no probability and no gradient.

The formulas are those of Scruples (arXiv 2008.09094, src/scruples/baselines/loss.py), with one change: an LLM's
option logits say nothing of certainty (logits near 20 would mean e^20 imagined votes), so the Dirichlet parameters
are alpha = s * softmax(logits) with a concentration s of its own, where Scruples has alpha = exp(logits).
"""

import jax
import jax.numpy as jnp

from moral_jax.types import NEG, Array, Batch, Metrics, OptionScores

LOG_CONCENTRATION_MAX = 30.0  # e^30 imagined votes are a multinomial; beyond, float32 would overflow
SHIFT = 8


def log_probabilities(logits_BQC: Array) -> Array:
    """Log of each option's share, [B, Q, C]; stays near NEG for options that do not exist."""
    return jax.nn.log_softmax(logits_BQC, axis=-1)


def _weighted(loss_BQ: Array, weights_BQ: Array) -> tuple[Array, Array]:
    return jnp.sum(loss_BQ * weights_BQ), jnp.sum(weights_BQ)


def _cross_entropy(logits_BQC: Array, counts_BQC: Array) -> Array:
    """- sum_k c_k log p_k, [B, Q]."""
    log_p_BQC = log_probabilities(logits_BQC)
    return -jnp.sum(jnp.where(counts_BQC > 0, counts_BQC * log_p_BQC, 0.0), axis=-1)


def _total(counts_BQC: Array) -> Array:
    """Votes per question, [B, Q]; 1 in empty slots, which have no weight but must divide."""
    total_BQ = jnp.sum(counts_BQC, axis=-1)
    return jnp.where(total_BQ > 0, total_BQ, 1.0)


def soft_cross_entropy(scores: OptionScores, batch: Batch) -> Metrics:
    """- sum_k q_k log p_k with q the shares of the votes ("xentropy-soft"). Its minimum is the entropy of q."""
    loss_BQ = _cross_entropy(scores.logits_BQC, batch.counts_BQC) / _total(batch.counts_BQC)
    return {"loss": _weighted(loss_BQ, batch.weights_BQ)}


def count_cross_entropy(scores: OptionScores, batch: Batch) -> Metrics:
    """- sum_k c_k log p_k with c the votes ("xentropy-full"): a question weighs as much as it has votes.

    The loss is per vote: the weight of a question is its number of votes, so that batches add up.
    """
    total_BQ = jnp.sum(batch.counts_BQC, axis=-1)
    loss_BQ = _cross_entropy(scores.logits_BQC, batch.counts_BQC) / _total(batch.counts_BQC)
    return {"loss": _weighted(loss_BQ, batch.weights_BQ * total_BQ)}


def log_rising(log_a: Array, n: Array) -> Array:
    """log(Gamma(a + n) / Gamma(a)) for a = exp(log_a) > 0 and n >= 0; exactly 0 at n = 0.

    lgamma(a + n) - lgamma(a) loses all digits in float32 when a is large, and overflows when it is tiny. Instead the
    recurrence Gamma(a) = Gamma(a + 8) / (a (a + 1) ... (a + 7)) moves both arguments to where Stirling's series
    (Abramowitz and Stegun 6.1.41) is exact to float32, and the first factor keeps log_a itself, so that neither the
    value nor the gradient is lost for any a.
    """
    a = jnp.exp(log_a)
    some = n > 0
    n = jnp.where(some, n, 1.0)  # keeps the branch that is not taken finite, and so its gradient
    b = a + SHIFT
    correction = (1 / (b + n) - 1 / b) / 12 - (1 / (b + n) ** 3 - 1 / b**3) / 360
    stirling = (b + n - 0.5) * jnp.log1p(n / b) + n * jnp.log(b) - n + correction
    factors = jnp.log(a + n) - log_a + sum(jnp.log1p(n / (a + j)) for j in range(1, SHIFT))
    return jnp.where(some, stirling - factors, 0.0)


def dirichlet_multinomial_nll(log_p_BQC: Array, log_s_BQ: Array, counts_BQC: Array) -> Array:
    """Negative log-likelihood [B, Q] of a sequence of votes under alpha = s * p; no multinomial coefficient.

    -[ lgamma(A) - lgamma(A + N) + sum_k (lgamma(alpha_k + c_k) - lgamma(alpha_k)) ], A = s, N = sum_k c_k.
    """
    log_s_BQ = jnp.minimum(log_s_BQ, LOG_CONCENTRATION_MAX)
    exists_BQC = log_p_BQC > NEG / 2
    log_alpha_BQC = jnp.where(exists_BQC, log_s_BQ[..., None] + log_p_BQC, 0.0)
    options_BQ = jnp.sum(jnp.where(exists_BQC, log_rising(log_alpha_BQC, counts_BQC), 0.0), axis=-1)
    return log_rising(log_s_BQ, jnp.sum(counts_BQC, axis=-1)) - options_BQ


def dirichlet_multinomial(scores: OptionScores, batch: Batch) -> Metrics:
    """The likelihood of the votes when the shares themselves are uncertain ("dirichlet-multinomial")."""
    log_p_BQC = log_probabilities(scores.logits_BQC)
    nll_BQ = dirichlet_multinomial_nll(log_p_BQC, scores.log_concentration_BQ, batch.counts_BQC)
    return {
        "loss": _weighted(nll_BQ, batch.weights_BQ),
        "log_concentration": _weighted(scores.log_concentration_BQ, batch.weights_BQ),
    }
