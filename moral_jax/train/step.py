"""One optimizer step: micro-batches are added as sums and weights, and divided once."""

import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from moral_jax import sharding
from moral_jax.models import api
from moral_jax.models.read_out import read_out
from moral_jax.objectives.base import Objective
from moral_jax.types import Batch, Metrics, Params, TrainState


class TrainStep(Protocol):
    """A compiled optimizer step."""

    def __call__(self, state: TrainState, frozen: Params, batch: Batch, /) -> tuple[TrainState, Metrics]:
        """Returns the new state and the metrics."""
        ...

    def lower(self, state: TrainState, frozen: Params, batch: Batch, /) -> jax.stages.Lowered:
        """Returns the program for arguments of these shapes and shardings, not yet compiled."""
        ...


def _moments(params: Params, tx: optax.GradientTransformation) -> Any:
    """Returns the optimizer's state, float32 whatever the weights are: in bfloat16, sums of squares stop growing at
    1/256 per step."""
    return tx.init(jax.tree.map(lambda p: p.astype(jnp.float32), params))


def abstract_state(model: api.Model, tx: optax.GradientTransformation) -> TrainState:
    """Returns shapes, types and shardings of the whole state, without computing any."""
    _, params = api.split(api.abstract_params(model), model)
    shapes = TrainState(jax.ShapeDtypeStruct((), jnp.int32), params, jax.eval_shape(lambda p: _moments(p, tx), params))
    return sharding.abstract(shapes, model.compute.mesh)


def init_state(params: Params, model: api.Model, tx: optax.GradientTransformation) -> TrainState:
    """Returns step zero of training `params`; moments are made straight in their shards."""
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(model, tx))
    opt_state = jax.jit(lambda p: _moments(p, tx), out_shardings=places.opt_state)(params)
    return TrainState(jax.device_put(np.int32(0), places.step), params, opt_state)


def split_micro_batches(batch: Batch, rows: int) -> Batch:
    """Reshapes every leaf [B, ...] to [M, rows, ...]."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, rows, *leaf.shape[1:]), batch)


def gradients(
    objective: Objective, model: api.Model, params: Params, frozen: Params, batch: Batch
) -> tuple[Params, Metrics]:
    """Returns the gradient of the summed loss over the summed weight, and the metrics' sums, of [M, B, ...] batches.

    Only `params` are differentiated, not `frozen`. Sums are added in float32 and divided once, so that the split of
    rows into micro-batches cannot change the result. Each micro-batch's gradient goes straight into the shards of the
    parameters.
    """
    mesh = model.compute.mesh

    def loss(params: Params, micro: Batch) -> tuple[jax.Array, Metrics]:
        with jax.named_scope("forward"):
            read = read_out(frozen | params, model, micro)
        with jax.named_scope("loss"):
            metrics = objective.loss(read, micro)
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


def make_train_step(objective: Objective, model: api.Model, tx: optax.GradientTransformation) -> TrainStep:
    """Returns the compiled step. It donates the state: parameters and moments are updated in place.

    Returns:
      (state, frozen parameters, batch [M, B, ...]) -> (new state, metrics); metrics also hold "grad_norm", before
      clipping, and "questions".
    """
    mesh = model.compute.mesh
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(model, tx))
    frozen_places = sharding.shardings(api.split(api.abstract_params(model), model)[0], mesh)

    @functools.partial(
        jax.jit,
        in_shardings=(places, frozen_places, sharding.of_batch(mesh, micro_batches=True)),
        out_shardings=(places, sharding.replicated(mesh)),
        donate_argnums=0,
    )
    def step(state: TrainState, frozen: Params, batch: Batch) -> tuple[TrainState, Metrics]:
        with jax.named_scope("gradients"):
            grads, metrics = gradients(objective, model, state.params, frozen, batch)
        with jax.named_scope("optimizer"):
            updates, opt_state = tx.update(grads, state.opt_state, state.params)
            params = optax.apply_updates(state.params, updates)
        metrics["grad_norm"] = (optax.global_norm(grads), jnp.ones(()))
        metrics["questions"] = (jnp.sum(batch.asks.items_BQ >= 0).astype(jnp.float32), jnp.ones(()))
        return TrainState(state.step + 1, params, opt_state), metrics

    return step
