"""Losses on vote distributions. Options that do not exist have the logit NEG: no probability and no gradient.

The formulas are those of Scruples (arXiv 2008.09094, src/scruples/baselines/loss.py), with one change: an LLM's
option logits say nothing of certainty (logits near 20 would mean e^20 imagined votes), so the Dirichlet parameters
are alpha = s * softmax(logits) with a concentration s of its own, where Scruples has alpha = exp(logits).
"""

import jax
import jax.numpy as jnp

from moral_jax.objectives.base import Objective
from moral_jax.types import NEG, Array, Batch, Metric, Metrics, Options, ReadOut

LOG_CONCENTRATION_MAX = 30.0  # e^30 imagined votes are a multinomial; beyond, float32 would overflow
SHIFT = 8


def log_probabilities(logits_BQC: Array) -> Array:
    """Log of each option's share, [B, Q, C]; stays near NEG for options that do not exist."""
    return jax.nn.log_softmax(logits_BQC, axis=-1)


def weighted(values_BQ: Array, weights_BQ: Array) -> Metric:
    """Returns the weighted sum over questions, and the sum of the weights. An empty slot may hold anything."""
    return jnp.sum(jnp.where(weights_BQ > 0, values_BQ, 0.0) * weights_BQ), jnp.sum(weights_BQ)


def _cross_entropy(logits_BQC: Array, counts_BQC: Array) -> Array:
    """- sum_k c_k log p_k, [B, Q]."""
    log_p_BQC = log_probabilities(logits_BQC)
    return -jnp.sum(jnp.where(counts_BQC > 0, counts_BQC * log_p_BQC, 0.0), axis=-1)


def total(counts_BQC: Array) -> Array:
    """Votes per question, [B, Q]; 1 in empty slots, which have no weight but must divide."""
    total_BQ = jnp.sum(counts_BQC, axis=-1)
    return jnp.where(total_BQ > 0, total_BQ, 1.0)


def soft_cross_entropy(read: ReadOut, batch: Batch) -> Metrics:
    """- sum_k q_k log p_k with q the shares of the votes ("xentropy-soft"). Its minimum is the entropy of q."""
    asks = batch.asks
    loss_BQ = _cross_entropy(read.options().logits_BQC, asks.counts_BQC) / total(asks.counts_BQC)
    return {"loss": weighted(loss_BQ, asks.weights_BQ)}


def count_cross_entropy(read: ReadOut, batch: Batch) -> Metrics:
    """- sum_k c_k log p_k with c the votes ("xentropy-full"): a question weighs as much as it has votes.

    The loss is per vote: the weight of a question is its number of votes, so that batches add up.
    """
    asks = batch.asks
    total_BQ = jnp.sum(asks.counts_BQC, axis=-1)
    loss_BQ = _cross_entropy(read.options().logits_BQC, asks.counts_BQC) / total(asks.counts_BQC)
    return {"loss": weighted(loss_BQ, asks.weights_BQ * total_BQ)}


def _first_factors(log_a: Array, n: Array) -> Array:
    """log of prod_{j < SHIFT} (a + n + j) / (a + j) for a = exp(log_a); 0 where n = 0.

    The first factor takes log_a itself: where a underflows, its logarithm and its gradient remain.
    """
    a = jnp.exp(log_a)
    some = n > 0
    first = jnp.where(some, jnp.log(a + jnp.where(some, n, 1.0)) - log_a, 0.0)
    return first + sum(jnp.log1p(n / (a + j)) for j in range(1, SHIFT))


def _series(b: Array, n: Array) -> Array:
    """What Stirling's series (Abramowitz and Stegun 6.1.41) adds to its main term in lgamma(b + n) - lgamma(b)."""
    return (1 / (b + n) - 1 / b) / 12 - (1 / (b + n) ** 3 - 1 / b**3) / 360


def dirichlet_multinomial_nll(log_p_BQC: Array, log_s_BQ: Array, counts_BQC: Array) -> Array:
    """Negative log-likelihood [B, Q] of a sequence of votes under alpha = s * p; no multinomial coefficient.

        -[ lgamma(s) - lgamma(s + N) + sum_k (lgamma(alpha_k + c_k) - lgamma(alpha_k)) ],  N = sum_k c_k

    Taken as it stands, this loses all digits in float32: each lgamma is about N log N or s log s, and their difference
    is small. Here the recurrence Gamma(a) = Gamma(a + 8) / (a (a + 1) ... (a + 7)) moves every argument to b = a + 8,
    where two terms of Stirling's series are exact to float32, and the large terms are subtracted on paper: with
    B = s + 8 and K options, the main terms leave

        7.5 (1 - K) log1p(N / B)
          - sum_k { c_k log((b_k + c_k) / (B + N)) + (b_k - 1/2) (log1p(c_k / b_k) - log1p(N / B)) }

    in which nothing is larger than the result needs. Values and gradients are finite for any logits and any s.
    """
    log_s_BQ = jnp.minimum(log_s_BQ, LOG_CONCENTRATION_MAX)
    exists_BQC = log_p_BQC > NEG / 2
    log_alpha_BQC = jnp.where(exists_BQC, log_s_BQ[..., None] + log_p_BQC, 0.0)
    total_BQ = jnp.sum(counts_BQC, axis=-1)
    b_BQC, B_BQ = jnp.exp(log_alpha_BQC) + SHIFT, jnp.exp(log_s_BQ) + SHIFT
    spread_BQ = jnp.log1p(total_BQ / B_BQ)
    main_BQC = counts_BQC * jnp.log((b_BQC + counts_BQC) / (B_BQ + total_BQ)[..., None])
    main_BQC += (b_BQC - 0.5) * (jnp.log1p(counts_BQC / b_BQC) - spread_BQ[..., None])
    option_BQC = main_BQC + _series(b_BQC, counts_BQC) - _first_factors(log_alpha_BQC, counts_BQC)
    options_BQ = jnp.sum(jnp.where(exists_BQC, option_BQC, 0.0), axis=-1)
    others_BQ = jnp.sum(exists_BQC, axis=-1) - 1
    whole_BQ = _series(B_BQ, total_BQ) - _first_factors(log_s_BQ, total_BQ)
    return whole_BQ - (SHIFT - 0.5) * others_BQ * spread_BQ - options_BQ


def dirichlet_multinomial(read: ReadOut, batch: Batch) -> Metrics:
    """The likelihood of the votes when the shares themselves are uncertain ("dirichlet-multinomial")."""
    scores, asks = read.options(), batch.asks
    log_p_BQC = log_probabilities(scores.logits_BQC)
    nll_BQ = dirichlet_multinomial_nll(log_p_BQC, scores.log_concentration_BQ, asks.counts_BQC)
    return {
        "loss": weighted(nll_BQ, asks.weights_BQ),
        "log_concentration": weighted(scores.log_concentration_BQ, asks.weights_BQ),
    }


# the concentration is read by all: those that do not train it are judged with its fixed value
OBJECTIVES: dict[str, Objective] = {
    "soft_cross_entropy": Objective(
        soft_cross_entropy, Options, "cross_entropy", "CE-tuned", reads=("initial_concentration",)
    ),
    "count_cross_entropy": Objective(
        count_cross_entropy, Options, "cross_entropy", "Count-CE-tuned", reads=("initial_concentration",)
    ),
    "dirichlet_multinomial": Objective(
        dirichlet_multinomial,
        Options,
        "dirichlet_nll",
        "Dirichlet-tuned",
        reads=("concentration", "initial_concentration"),
    ),
}
