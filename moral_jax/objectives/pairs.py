"""Losses on a chosen and a rejected text, as functions of their log-probabilities: the papers' formulas."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.nn import log_sigmoid, relu, sigmoid

from moral_jax.types import Array


class Side(NamedTuple):
    """One completion of each pair; arrays [B, Q], sums over its tokens."""

    logp: Array
    reference: Array
    tokens: Array

    @property
    def ratio(self) -> Array:
        """log p - log p_ref."""
        return self.logp - self.reference

    @property
    def mean_ratio(self) -> Array:
        """log p - log p_ref, per token."""
        return self.ratio / self.tokens

    @property
    def mean(self) -> Array:
        """log p per token."""
        return self.logp / self.tokens


PairLoss = Callable[..., Array]  # (chosen, rejected, settings by keyword) -> [B, Q]


def robust(chosen: Side, rejected: Side, *, beta: float, label_smoothing: float) -> Array:
    """DPO, unbiased where a share `label_smoothing` of the choices is flipped (arXiv 2403.00409)."""
    x, e = beta * (chosen.ratio - rejected.ratio), label_smoothing
    return (-(1 - e) * log_sigmoid(x) + e * log_sigmoid(-x)) / (1 - 2 * e)


def hinge(chosen: Side, rejected: Side, *, beta: float) -> Array:
    """Hinge loss on the difference of rewards (SLiC-HF, arXiv 2305.10425; RSO, arXiv 2309.06657)."""
    return relu(1 - beta * (chosen.ratio - rejected.ratio))


def ipo(chosen: Side, rejected: Side, *, beta: float) -> Array:
    """IPO (arXiv 2310.12036) on sums over tokens, as its paper and the authors of DPO compute it."""
    return jnp.square(chosen.ratio - rejected.ratio - 1 / (2 * beta))


def ipo_per_token(chosen: Side, rejected: Side, *, beta: float) -> Array:
    """IPO on averages over tokens, as TRL computes it; no factor turns one convention into the other."""
    return jnp.square(chosen.mean_ratio - rejected.mean_ratio - 1 / (2 * beta))


def dpo_per_token(chosen: Side, rejected: Side, *, beta: float) -> Array:
    """DPO on averages over tokens (TRL's sigmoid_norm)."""
    return -log_sigmoid(beta * (chosen.mean_ratio - rejected.mean_ratio))


def exo(chosen: Side, rejected: Side, *, beta: float, label_smoothing: float) -> Array:
    """Pairwise EXO (arXiv 2402.00856): reverse KL to the smoothed choice, so label_smoothing must be above 0."""
    x, e = beta * (chosen.ratio - rejected.ratio), label_smoothing
    to_chosen = sigmoid(x) * (log_sigmoid(x) - jnp.log1p(-e))
    return to_chosen + sigmoid(-x) * (log_sigmoid(-x) - jnp.log(e))


def nca(chosen: Side, rejected: Side, *, beta: float) -> Array:
    """Pairwise NCA (arXiv 2402.05369)."""
    c, r = beta * chosen.ratio, beta * rejected.ratio
    return -log_sigmoid(c) - 0.5 * log_sigmoid(-c) - 0.5 * log_sigmoid(-r)


def bco(chosen: Side, rejected: Side, *, beta: float) -> Array:
    """Binary classifier optimisation on pairs (arXiv 2404.04656), with a reward shift of 0."""
    return -log_sigmoid(beta * chosen.ratio) - log_sigmoid(-beta * rejected.ratio)


def sppo(chosen: Side, rejected: Side, *, beta: float) -> Array:
    """SPPO with hard choices (arXiv 2405.00675)."""
    return jnp.square(chosen.ratio - 0.5 / beta) + jnp.square(rejected.ratio + 0.5 / beta)


def apo_zero(chosen: Side, rejected: Side, *, beta: float) -> Array:
    """APO-zero (arXiv 2408.06266): the chosen one becomes likelier, the rejected one less likely."""
    return 1 - sigmoid(beta * chosen.ratio) + sigmoid(beta * rejected.ratio)


def apo_down(chosen: Side, rejected: Side, *, beta: float) -> Array:
    """APO-down (arXiv 2408.06266): both become less likely, the rejected one more so."""
    return sigmoid(beta * chosen.ratio) + 1 - sigmoid(beta * (chosen.ratio - rejected.ratio))


def discopop(chosen: Side, rejected: Side, *, beta: float, temperature: float = 0.05) -> Array:
    """DiscoPOP (arXiv 2406.08414): logistic and exponential loss, mixed by the difference itself."""
    x = beta * (chosen.ratio - rejected.ratio)
    mixed = sigmoid(x / temperature)
    return -log_sigmoid(x) * (1 - mixed) + jnp.exp(-x) * mixed


def simpo(chosen: Side, rejected: Side, *, beta: float, margin: float) -> Array:
    """SimPO (arXiv 2405.14734): log-probability per token, a margin, no reference."""
    return -log_sigmoid(beta * (chosen.mean - rejected.mean) - margin)


def _log_odds(mean: Array) -> Array:
    """log p - log(1 - p) of a mean log-probability; finite where p rounds to 1."""
    below = jnp.minimum(mean, -1e-6)
    return below - jnp.log(-jnp.expm1(below))


def orpo(chosen: Side, rejected: Side, *, sft_weight: float) -> Array:
    """ORPO (arXiv 2403.07691): NLL per token of the chosen one, and the odds ratio of the two, which weighs
    `sft_weight` against it; no reference."""
    odds = log_sigmoid(_log_odds(chosen.mean) - _log_odds(rejected.mean))
    return -chosen.mean - sft_weight * odds
