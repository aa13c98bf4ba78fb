"""AdamW with warm-up, decay and clipping, from optax."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from moral_jax.config.train import OptimConfig
from moral_jax.types import Array, Params

NO_DECAY = ("scale", "bias", "magnitude")  # decay of a magnitude would shrink the frozen weights too


def schedule(config: OptimConfig, steps: int) -> optax.Schedule:
    """Returns the learning rate by step.

    It rises linearly over a share `warmup` of the steps, then falls to zero (linear or cosine) or stays constant.
    """
    rise = round(config.warmup * steps)
    fall = max(1, steps - rise)
    after = {
        "linear": optax.linear_schedule(config.lr, 0.0, fall),
        "cosine": optax.cosine_decay_schedule(config.lr, fall),
        "constant": optax.constant_schedule(config.lr),
    }[config.schedule]
    if rise == 0:
        return after
    # the rate of the first step is lr / rise, not 0, so that it changes the weights
    return optax.join_schedules(
        [optax.linear_schedule(config.lr / rise, config.lr * (1 + 1 / rise), rise), after], [rise]
    )


def _decayed(params: Params) -> Params:
    """Returns the mask of parameters that weight decay applies to."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key not in NO_DECAY, params)


def _stored_as(tx: optax.GradientTransformation, dtype: str) -> optax.GradientTransformation:
    """Returns `tx` with its state stored as `dtype` between steps; within a step it is float32."""

    def cast(state: optax.OptState, to: str) -> optax.OptState:
        return jax.tree.map(lambda x: x.astype(to) if jnp.issubdtype(x.dtype, jnp.floating) else x, state)

    def update(updates: Params, state: optax.OptState, params: Params | None = None) -> tuple[Params, optax.OptState]:
        updates, state = tx.update(updates, cast(state, "float32"), params)
        return updates, cast(state, dtype)

    return optax.GradientTransformation(lambda params: cast(tx.init(params), dtype), update)


def make(config: OptimConfig, steps: int) -> optax.GradientTransformation:
    """Returns the optimizer of the trained parameters: backbone or adapters, score head, and concentration head.

    The concentration head and the critic have their own learning rate, `head_lr`, under the same schedule. They are a
    new scalar or linear map, and the rate that keeps a language model intact would hardly move them.
    """
    rate = schedule(config, steps)
    head_rate = schedule(config.__class__(**{**vars(config), "lr": config.head_lr}), steps)

    def adamw(lr: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
        tx = optax.adamw(lr, config.b1, config.b2, config.eps, weight_decay=weight_decay, mask=_decayed)
        return _stored_as(tx, config.moment_dtype)

    def part_of(path: tuple[Any, ...], _: Array) -> str:
        return "head" if path[0].key in ("head", "critic") else "decoder"  # checkpoints contain these names

    parts = {"decoder": adamw(rate, config.weight_decay), "head": adamw(head_rate, 0.0)}
    tx = optax.partition(parts, functools.partial(jax.tree_util.tree_map_with_path, part_of))
    return tx if config.clip is None else optax.chain(optax.clip_by_global_norm(config.clip), tx)
