"""Losses on preferences between texts: DPO and its relatives, on single choices and on votes.

A prompt is a question, its completions are options, and a choice is a vote. The score of a completion is its reward
beta * (log p - log p_ref), and DPO's logistic loss is the soft cross-entropy of these scores: of the votes (1, 0) on a
pair, of any votes on any number of completions. Losses that compare a chosen with a rejected completion take each of
the two for the chosen one, and weigh the two losses with its share of the votes.

The losses on pairs are in `pairs`. Golden values of all of them are in tests/objectives/test_preferences.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from moral_jax.objectives import pairs
from moral_jax.objectives.base import Objective
from moral_jax.objectives.votes import dirichlet_multinomial_nll, log_probabilities, total, weighted
from moral_jax.types import NEG, REFERENCE, Array, Batch, Metric, Metrics, Options, ReadOut, Texts


def _accuracy(scores_BQC: Array, shares_BQC: Array, exists_BQC: Array, weights_BQ: Array) -> Metric:
    """Returns how often the most chosen text has the best score.

    Equal scores count in part, and questions whose votes tie not at all.
    """
    best_BQC = (scores_BQC == scores_BQC.max(-1, keepdims=True)) & exists_BQC
    chosen_BQC = (shares_BQC == shares_BQC.max(-1, keepdims=True)) & exists_BQC
    right_BQC = jnp.where(chosen_BQC, best_BQC / jnp.maximum(best_BQC.sum(-1, keepdims=True), 1), 0.0)
    return weighted(right_BQC.sum(-1), jnp.where(chosen_BQC.sum(-1) == 1, weights_BQ, 0.0))


def _shares(counts_BQC: Array) -> Array:
    """Returns the share of votes of each text, [B, Q, C]."""
    return counts_BQC / total(counts_BQC)[..., None]


class _Compared(NamedTuple):
    """What every loss here reads: arrays [B, Q, C]."""

    logp: Array
    reference: Array  # zeros where the loss has none
    tokens: Array
    exists: Array
    shares: Array

    def scores(self, beta: float) -> Array:
        """Returns the reward beta * (log p - log p_ref) of each text; NEG where there is none."""
        return jnp.where(self.exists, beta * (self.logp - self.reference), NEG)


def _compare(read: ReadOut, asks: Texts) -> _Compared:
    logp, tokens = read.texts()
    exists = tokens > 0
    reference = asks.columns.get(REFERENCE, jnp.zeros_like(logp))
    return _Compared(logp, reference, jnp.where(exists, tokens, 1.0), exists, _shares(asks.counts_BQC))


def _metrics(loss_BQ: Array, found: _Compared, asks: Texts, beta: float) -> Metrics:
    """Returns the loss, and what tells how preferences are learned.

    `chosen_logp` is what falls in most DPO runs: the mean log-probability of a token of the texts that were chosen.
    `reference_gap` is (log p - log p_ref)^2 per token: 0 but for rounding before the first update, when the weights are
    the reference's. Errors of rounding are independent from token to token, so that their square grows with the text.
    """
    score_BQC = found.scores(beta)
    others_BQC = jnp.where(found.exists, 1 - found.shares, 0.0)
    others_BQC /= jnp.maximum(others_BQC.sum(-1, keepdims=True), 1e-9)
    reward_BQC = jnp.where(found.exists, score_BQC, 0.0)
    chosen_BQ, rejected_BQ = (jnp.sum(reward_BQC * w, axis=-1) for w in (found.shares, others_BQC))

    def per_token(shares_BQC: Array) -> Metric:
        weight_BQC = shares_BQC * asks.weights_BQ[..., None]
        return jnp.sum(weight_BQC * found.logp), jnp.sum(jnp.where(found.exists, weight_BQC * found.tokens, 0.0))

    asked_BQC = found.exists & (asks.weights_BQ[..., None] > 0)
    gap_BQC = jnp.where(asked_BQC, jnp.square(found.logp - found.reference) / found.tokens, 0.0)
    gap = {"reference_gap": weighted(gap_BQC, asked_BQC)} if REFERENCE in asks.columns else {}
    return gap | {
        "loss": weighted(loss_BQ, asks.weights_BQ),
        "accuracy": _accuracy(score_BQC, found.shares, found.exists, asks.weights_BQ),
        "margin": weighted(chosen_BQ - rejected_BQ, asks.weights_BQ),
        "chosen_reward": weighted(chosen_BQ, asks.weights_BQ),
        "rejected_reward": weighted(rejected_BQ, asks.weights_BQ),
        "chosen_logp": per_token(found.shares),
        "rejected_logp": per_token(others_BQC),
    }


def dpo(read: ReadOut, batch: Batch, *, beta: float, label_smoothing: float) -> Metrics:
    """DPO (arXiv 2305.18290): soft cross-entropy of the rewards and the votes.

    With `label_smoothing` a part of each vote goes to the other texts (cDPO, ericmitchell.ai/cdpo.pdf).
    """
    asks = batch.asks
    found = _compare(read, asks)
    others_BQ1 = jnp.maximum(found.exists.sum(-1, keepdims=True) - 1, 1)
    shares_BQC = (1 - label_smoothing) * found.shares + label_smoothing * (1 - found.shares) / others_BQ1
    log_p_BQC = log_probabilities(found.scores(beta))
    loss_BQ = -jnp.sum(jnp.where(found.exists, shares_BQC * log_p_BQC, 0.0), axis=-1)
    return _metrics(loss_BQ, found, asks, beta)


def dpo_dirichlet(read: ReadOut, batch: Batch, *, beta: float) -> Metrics:
    """The Dirichlet-multinomial likelihood of the votes, its shares the softmax of the rewards (ours)."""
    asks = batch.asks
    found = _compare(read, asks)
    log_p_BQC = log_probabilities(found.scores(beta))
    nll_BQ = dirichlet_multinomial_nll(log_p_BQC, read.options().log_concentration_BQ, asks.counts_BQC)
    return _metrics(nll_BQ, found, asks, beta)


def _of_pairs(loss: pairs.PairLoss) -> Callable[..., Metrics]:
    """Returns the objective of a loss on pairs: each of the two is the chosen one, as often as it was."""

    def objective(read: ReadOut, batch: Batch, **settings: float) -> Metrics:
        asks = batch.asks
        found = _compare(read, asks)
        sides = [pairs.Side(found.logp[..., c], found.reference[..., c], found.tokens[..., c]) for c in (0, 1)]
        losses_BQ = loss(*sides, **settings), loss(*sides[::-1], **settings)
        # where, and not only a product: a loss with no share of the votes may be infinite
        loss_BQ = sum(jnp.where(found.shares[..., c] > 0, found.shares[..., c] * losses_BQ[c], 0.0) for c in (0, 1))
        return _metrics(loss_BQ, found, asks, settings.get("beta", 1.0))

    return objective


def reward_model(read: ReadOut, batch: Batch, *, margin: float, centring: float) -> Metrics:
    """Soft cross-entropy of the votes and the scores of a reward model (Bradley-Terry on a pair; arXiv 2203.02155).

    The scores of texts must exceed the others' by `margin`, in proportion to their shares of the votes; `centring`
    weighs the squared sum of the scores, which pulls them around 0 (arXiv 2312.09244).
    """
    asks = batch.asks
    logits_BQC = read.options().logits_BQC
    exists_BQC = logits_BQC > NEG / 2
    shares_BQC = _shares(asks.counts_BQC)
    shifted_BQC = jnp.where(exists_BQC, logits_BQC - margin * shares_BQC, NEG)
    loss_BQ = -jnp.sum(jnp.where(exists_BQC, shares_BQC * log_probabilities(shifted_BQC), 0.0), axis=-1)
    rewards_BQC = jnp.where(exists_BQC, logits_BQC, 0.0)
    centre_BQ = jnp.square(jnp.sum(rewards_BQC, axis=-1))
    return {
        "loss": weighted(loss_BQ + centring * centre_BQ, asks.weights_BQ),
        "accuracy": _accuracy(logits_BQC, shares_BQC, exists_BQC, asks.weights_BQ),
        "reward": (jnp.sum(rewards_BQC * asks.weights_BQ[..., None]), jnp.sum(exists_BQC * asks.weights_BQ[..., None])),
    }


def _row(
    loss: pairs.PairLoss, label: str, *settings: str, reference: bool = True, positive: tuple[str, ...] = ()
) -> Objective:
    return Objective(
        _of_pairs(loss),
        Texts,
        judged_by="loss",
        label=label,
        reads=(),
        settings=settings,
        positive=positive,
        columns=(REFERENCE,) if reference else (),
        pairs_only=True,
        kinds=("preferences",),
    )


OBJECTIVES: dict[str, Objective] = {
    "dpo": Objective(
        dpo,
        Texts,
        judged_by="loss",
        label="DPO",
        reads=(),
        settings=("beta", "label_smoothing"),
        columns=(REFERENCE,),
        kinds=("preferences",),
    ),
    "dpo_dirichlet": Objective(
        dpo_dirichlet,
        Texts,
        judged_by="loss",
        label="Dirichlet-DPO",
        reads=("concentration", "initial_concentration"),
        settings=("beta",),
        columns=(REFERENCE,),
        kinds=("preferences",),
    ),
    "dpo_per_token": _row(pairs.dpo_per_token, "DPO per token", "beta"),
    "robust_dpo": _row(pairs.robust, "robust DPO", "beta", "label_smoothing"),
    "hinge": _row(pairs.hinge, "hinge", "beta"),
    "ipo": _row(pairs.ipo, "IPO", "beta"),
    "ipo_per_token": _row(pairs.ipo_per_token, "IPO per token", "beta"),
    "exo": _row(pairs.exo, "EXO", "beta", "label_smoothing", positive=("label_smoothing",)),
    "nca": _row(pairs.nca, "NCA", "beta"),
    "bco": _row(pairs.bco, "BCO", "beta"),
    "sppo": _row(pairs.sppo, "SPPO", "beta"),
    "apo_zero": _row(pairs.apo_zero, "APO-zero", "beta"),
    "apo_down": _row(pairs.apo_down, "APO-down", "beta"),
    "discopop": _row(pairs.discopop, "DiscoPOP", "beta"),
    "simpo": _row(pairs.simpo, "SimPO", "beta", "margin", reference=False),
    "orpo": _row(pairs.orpo, "ORPO", "sft_weight", reference=False),
    "reward_model": Objective(
        reward_model,
        Options,
        judged_by="cross_entropy",
        label="reward model",
        reads=("initial_concentration",),
        settings=("margin", "centring"),
    ),
}
