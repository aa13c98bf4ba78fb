"""One optimizer step: micro-batches as sums and weights, divided once."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from moral_jax import sharding
from moral_jax.models import api
from moral_jax.objectives import Objective
from moral_jax.types import Batch, Metrics, Params, TrainState

TrainStep = Callable[[TrainState, Params, Batch], tuple[TrainState, Metrics]]  # state, frozen parameters, batch


def _moments(params: Params, tx: optax.GradientTransformation) -> Any:
    """The optimizer's state, float32 whatever the weights are: bf16 sums of squares stop growing at 1/256 per step."""
    return tx.init(jax.tree.map(lambda p: p.astype(jnp.float32), params))


def abstract_state(policy: api.Policy, tx: optax.GradientTransformation) -> TrainState:
    """Shapes, types and places of the whole state, without computing any."""
    _, params = api.split(api.abstract_params(policy), policy)
    shapes = TrainState(jax.ShapeDtypeStruct((), jnp.int32), params, jax.eval_shape(lambda p: _moments(p, tx), params))
    return sharding.abstract(shapes, policy.execution.mesh)


def init_state(params: Params, policy: api.Policy, tx: optax.GradientTransformation) -> TrainState:
    """Step zero of training `params`: moments are made straight in their shards."""
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(policy, tx))
    opt_state = jax.jit(lambda p: _moments(p, tx), out_shardings=places.opt_state)(params)
    return TrainState(jax.device_put(np.int32(0), places.step), params, opt_state)


def split_micro_batches(batch: Batch, rows: int) -> Batch:
    """[B, ...] to [M, rows, ...] on every leaf."""
    return Batch(*(leaf.reshape(-1, rows, *leaf.shape[1:]) for leaf in batch))


def gradients(
    objective: Objective, policy: api.Policy, params: Params, frozen: Params, batch: Batch
) -> tuple[Params, Metrics]:
    """Gradient of the summed loss over the summed weight, and the metrics' sums, over [M, B, ...] micro-batches.

    It is that of `params` alone: for `frozen` none is computed. Sums are added, in float32, and divided once, so that
    how rows are split into micro-batches cannot change the result. Each micro-batch's gradient goes straight into the
    shards of the parameters.
    """
    mesh = policy.execution.mesh

    def loss(params: Params, micro: Batch) -> tuple[jax.Array, Metrics]:
        metrics = objective(api.score_options(frozen | params, policy, micro), micro)
        return metrics["loss"][0], metrics

    def add(carry: tuple[Params, Metrics], micro: Batch) -> tuple[tuple[Params, Metrics], None]:
        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(params, micro)
        return jax.tree.map(jnp.add, carry, (sharding.constrain_tree(grads, mesh), metrics)), None

    first = jax.tree.map(lambda x: x[0], batch)
    _, metric_shapes = jax.eval_shape(loss, params, first)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, jnp.float32), (params, metric_shapes))
    (grads, metrics), _ = jax.lax.scan(add, zeros, batch)
    weight = metrics["loss"][1]
    return jax.tree.map(lambda g: g / jnp.maximum(weight, 1e-20), grads), metrics


def make_train_step(objective: Objective, policy: api.Policy, tx: optax.GradientTransformation) -> TrainStep:
    """The compiled step. The state is donated: parameters and moments are updated in place.

    Returns:
      (state, frozen parameters, batch [M, B, ...]) -> (new state, metrics); metrics also hold "grad_norm", before
      clipping, and "questions".
    """
    mesh = policy.execution.mesh
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(policy, tx))
    frozen_places = sharding.shardings(api.split(api.abstract_params(policy), policy)[0], mesh)

    @functools.partial(
        jax.jit,
        in_shardings=(places, frozen_places, sharding.of_batch(mesh, micro_batches=True)),
        out_shardings=(places, sharding.whole(mesh)),
        donate_argnums=0,
    )
    def step(state: TrainState, frozen: Params, batch: Batch) -> tuple[TrainState, Metrics]:
        grads, metrics = gradients(objective, policy, state.params, frozen, batch)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["grad_norm"] = (optax.global_norm(grads), jnp.ones(()))
        metrics["questions"] = (jnp.sum(batch.items_BQ >= 0).astype(jnp.float32), jnp.ones(()))
        return TrainState(state.step + 1, params, opt_state), metrics

    return step
