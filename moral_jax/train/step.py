"""One optimizer step: micro-batches as sums and weights, divided once."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from moral_jax.models import api
from moral_jax.objectives import Objective
from moral_jax.types import Batch, Metrics, Params, TrainState

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def init_state(params: Params, tx: optax.GradientTransformation) -> TrainState:
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))


def split_micro_batches(batch: Batch, rows: int) -> Batch:
    """[B, ...] to [M, rows, ...] on every leaf."""
    return Batch(*(leaf.reshape(-1, rows, *leaf.shape[1:]) for leaf in batch))


def gradients(objective: Objective, policy: api.Policy, params: Params, batch: Batch) -> tuple[Params, Metrics]:
    """Gradient of the summed loss over the summed weight, and the metrics' sums, over [M, B, ...] micro-batches.

    Sums are added and divided once, so that how rows are split into micro-batches cannot change the result.
    """

    def loss(params: Params, micro: Batch) -> tuple[jax.Array, Metrics]:
        metrics = objective(api.score_options(params, policy, micro), micro)
        return metrics["loss"][0], metrics

    def add(carry: tuple[Params, Metrics], micro: Batch) -> tuple[tuple[Params, Metrics], None]:
        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params, micro)
        return jax.tree.map(jnp.add, carry, (grads, metrics)), None

    first = jax.tree.map(lambda x: x[0], batch)
    shapes = jax.eval_shape(lambda p, m: jax.value_and_grad(loss, has_aux=True)(p, m), params, first)
    (_, metric_shapes), grad_shapes = shapes
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (grad_shapes, metric_shapes))
    (grads, metrics), _ = jax.lax.scan(add, zeros, batch)
    weight = metrics["loss"][1]
    return jax.tree.map(lambda g: g / jnp.maximum(weight, 1e-20), grads), metrics


def make_train_step(objective: Objective, policy: api.Policy, tx: optax.GradientTransformation) -> TrainStep:
    """The compiled step. The state is donated: parameters and moments are updated in place.

    Returns:
      (state, batch [M, B, ...]) -> (new state, metrics); metrics also hold "grad_norm", before clipping.
    """

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, metrics = gradients(objective, policy, state.params, batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["grad_norm"] = (optax.global_norm(grads), jnp.ones(()))
        return TrainState(state.step + 1, params, opt_state), metrics

    return step
