"""Policy-gradient losses on texts that the model wrote: GRPO and its relatives, and PPO.

A loss is a sum over tokens. Advantages, the weight of each token and what the sum is divided by are columns, computed
once for a rollout (`advantages`), so that the reductions of GRPO, DAPO and Dr. GRPO are one objective, and
micro-batches add up. Columns: `ADVANTAGE`, `SHARE`, `SAMPLED` of each token, and `DIVISOR` of each text; `OLD` where a
rollout has several steps, as before the first one the old probability is the new one; `REFERENCE` where a KL divergence
is weighed; `RETURN` and `OLD_VALUE` for a critic. Golden values of all of them are in tests/objectives/test_policy.py.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from moral_jax.objectives.base import Objective
from moral_jax.types import (
    ADVANTAGE,
    DIVISOR,
    OLD,
    OLD_VALUE,
    REFERENCE,
    RETURN,
    SAMPLED,
    SHARE,
    Array,
    Batch,
    Metrics,
    ReadOut,
    Texts,
)

stop = jax.lax.stop_gradient
CISPO_CAP = 5.0


def _high(clip: float, clip_high: float | None) -> float:
    return clip if clip_high is None else clip_high


def clipped(
    log_ratio: Array, logp: Array, advantage: Array, *, clip: float, clip_high: float | None, dual_clip: float | None
) -> tuple[Array, Array]:
    """Returns PPO's clipped loss of each token (arXiv 1707.06347), and where clipping holds back its gradient.

    With `clip_high` it is DAPO's (arXiv 2503.14476); `dual_clip` bounds it where advantages are negative
    (arXiv 1912.09729).
    """
    ratio = jnp.exp(log_ratio)
    free, bound = -advantage * ratio, -advantage * jnp.clip(ratio, 1 - clip, 1 + _high(clip, clip_high))
    loss, held = jnp.maximum(free, bound), bound > free
    if dual_clip is not None:
        most = jnp.where(advantage < 0, -dual_clip * advantage, jnp.inf)
        held |= loss > most
        loss = jnp.minimum(loss, most)
    return loss, held


def cispo(
    log_ratio: Array, logp: Array, advantage: Array, *, clip: float, clip_high: float | None, dual_clip: float | None
) -> tuple[Array, Array]:
    """Returns CISPO's loss of each token (arXiv 2506.13585): the capped ratio is a constant weight of log p."""
    cap = CISPO_CAP if clip_high is None else clip_high
    ratio = jnp.exp(log_ratio)
    return -stop(jnp.minimum(ratio, cap)) * advantage * logp, ratio > cap


def _text_means(values_BA: Array, asks: Texts) -> Array:
    """Returns the mean over each token's text, at the token, [B, A]."""
    Q, C = asks.counts_BQC.shape[-2:]
    belongs_BAX = asks.text_of_BA[..., None] == jnp.arange(Q * C)
    total_BX = jnp.sum(jnp.where(belongs_BAX, values_BA[..., None], 0.0), axis=-2)
    mean_BX = total_BX / jnp.maximum(belongs_BAX.sum(-2), 1)
    return jnp.take_along_axis(mean_BX, jnp.maximum(asks.text_of_BA, 0), axis=-1)


def of_texts(log_ratio_BA: Array, logp_BA: Array, asks: Texts) -> Array:
    """Returns GSPO's log-ratio of each token (arXiv 2507.18071): the mean over its text, whose gradient each has."""
    return _text_means(log_ratio_BA, asks)


def of_tokens(log_ratio_BA: Array, logp_BA: Array, asks: Texts) -> Array:
    """Returns the log-ratios as they are."""
    return log_ratio_BA


def value_loss(value: Array, old: Array, wanted: Array, clip: float) -> Array:
    """Returns PPO's clipped loss of the critic at each token."""
    near = old + jnp.clip(value - old, -clip, clip)
    return 0.5 * jnp.maximum(jnp.square(value - wanted), jnp.square(near - wanted))


def kl_estimates(logp: Array, reference: Array) -> tuple[Array, Array]:
    """Returns two estimates of KL(p, p_ref) at a token drawn from p.

    The first, k2, has the gradient of the divergence, so it stands in the loss; the second, k3, is never negative and
    has less noise, so it is printed (joschu.net/blog/kl-approx.html). k1 in a loss would have no gradient on average.
    """
    gap = reference - logp
    return 0.5 * jnp.square(gap), jnp.exp(gap) - 1 - gap


def _policy(token_loss: Callable[..., tuple[Array, Array]], level: Callable[[Array, Array, Texts], Array]) -> Any:
    """Returns the objective of a loss of tokens, whose ratios are read at a level."""

    def objective(
        read: ReadOut,
        batch: Batch,
        *,
        temperature: float,
        clip_high: float | None,
        kl_weight: float,
        mismatch_cap: float | None,
        clip: float = 0.0,
        dual_clip: float | None = None,
        value_weight: float = 0.0,
        value_clip: float = 0.0,
    ) -> Metrics:
        asks = batch.asks
        known, is_read_BA = asks.token_columns, asks.text_of_BA >= 0
        logp_BA, entropy_BA = (jnp.where(is_read_BA, x_BA, 0.0) for x_BA in read.tokens(temperature))
        old_BA = known[OLD] if OLD in known else stop(logp_BA)
        log_ratio_BA = level(logp_BA - old_BA, logp_BA, asks)
        limits = {"clip": clip, "clip_high": clip_high, "dual_clip": dual_clip}
        loss_BA, held_BA = token_loss(log_ratio_BA, logp_BA, known[ADVANTAGE], **limits)
        gap_BA = stop(old_BA) - known[SAMPLED]
        if mismatch_cap is not None:
            loss_BA *= jnp.minimum(jnp.exp(gap_BA), mismatch_cap)
        ones = jnp.sum(is_read_BA).astype(jnp.float32)

        def mean(values_BA: Array) -> tuple[Array, Array]:
            return jnp.sum(jnp.where(is_read_BA, stop(values_BA), 0.0)), ones

        metrics = {
            "entropy": mean(entropy_BA),
            "ratio": mean(jnp.exp(log_ratio_BA)),
            "clip_share": mean(held_BA.astype(jnp.float32)),
            "sampler_gap": mean(jnp.abs(gap_BA)),
            "mismatch": mean(jnp.exp(jnp.abs(gap_BA))),
        }
        if REFERENCE in known:
            for_loss_BA, printed_BA = kl_estimates(logp_BA, known[REFERENCE])
            loss_BA += kl_weight * for_loss_BA
            metrics["kl"] = mean(printed_BA)
        if RETURN in known:
            of_critic_BA = value_loss(read.value(), known[OLD_VALUE], known[RETURN], value_clip)
            loss_BA += value_weight * of_critic_BA
            metrics["value_loss"] = mean(of_critic_BA)
        total = jnp.sum(jnp.where(is_read_BA, loss_BA * known[SHARE], 0.0))
        return {"loss": (total, jnp.sum(asks.columns[DIVISOR][..., 0] * asks.weights_BQ))} | metrics

    return objective


COMMON = ("clip_high", "kl_weight", "mismatch_cap")
LIMITS = (*COMMON, "clip", "dual_clip")


def _row(
    token_loss: Callable[..., tuple[Array, Array]],
    label: str,
    level: Callable[[Array, Array, Texts], Array] = of_tokens,
    settings: tuple[str, ...] = LIMITS,
    columns: tuple[str, ...] = (),
) -> Objective:
    return Objective(
        _policy(token_loss, level),
        Texts,
        judged_by="loss",
        label=label,
        reads=(),
        settings=settings,
        columns=columns,
        kinds=("prompts",),
    )


OBJECTIVES: dict[str, Objective] = {
    "grpo": _row(clipped, "GRPO"),
    "gspo": _row(clipped, "GSPO", of_texts),
    "cispo": _row(cispo, "CISPO", settings=COMMON),
    "ppo": _row(clipped, "PPO", settings=(*LIMITS, "value_weight", "value_clip"), columns=(RETURN, OLD_VALUE)),
}
