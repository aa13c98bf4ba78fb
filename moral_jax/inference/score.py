"""Option probabilities of every item, from packed batches."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from moral_jax import sharding
from moral_jax.data.pipeline import Batches
from moral_jax.models import api
from moral_jax.objectives.votes import log_probabilities
from moral_jax.runs.records import ItemScores
from moral_jax.runtime import console, distributed, preemption
from moral_jax.types import Array, Batch, Params, Preempted


class Scorer(NamedTuple):
    """The compiled scoring pass and the mesh it runs on."""

    ready: Callable[[Params], Params]  # what `score` takes, from a policy's parameters: once for many batches
    score: Callable[[Params, Batch], tuple[Array, ItemScores]]  # -> items_BQ, and arrays [B, Q, ...] of scores
    mesh: Mesh


def make_scorer(policy: api.Policy) -> Scorer:
    """Make it once and use it for every split, so that it compiles once."""
    # forward alone, a loop over layers is as fast as a program that spells them out, and starts in half the time
    policy = dataclasses.replace(policy, execution=dataclasses.replace(policy.execution, unroll=1))
    mesh = policy.execution.mesh
    places = jax.tree.map(lambda leaf: leaf.sharding, api.abstract_params(policy))

    # what comes out is small: every process gets all of it
    @functools.partial(
        jax.jit,
        in_shardings=(places, sharding.of_batch(mesh, micro_batches=False)),
        out_shardings=sharding.whole(mesh),
    )
    def score(params: Params, batch: Batch) -> tuple[Array, ItemScores]:
        scores, log_mass_BQ = api.score_options_and_mass(params, policy, batch)
        return batch.items_BQ, ItemScores(
            log_probabilities(scores.logits_BQC), log_mass_BQ, scores.log_concentration_BQ
        )

    return Scorer(functools.partial(api.as_read, policy=policy), score, mesh)


def score_items(scorer: Scorer, params: Params, batches: Batches, prefetch: int, what: str) -> ItemScores:
    """Scores every item with parameters that are `ready`. The result does not depend on how items share batches, up to
    float32 rounding.

    Raises:
      Preempted: the work was told to end; asked before every batch, the first of which compiles.
    """
    items, rows = len(batches.questions.items), batches.shape.rows
    out: ItemScores | None = None
    agreed = distributed.Agreement()
    stream = batches.stream(0, len(batches), prefetch)
    for batch in console.progress(stream, total=len(batches), desc=f"scoring {what}", unit="batch", leave=None):
        if agreed(preemption.noticed())[0]:
            raise Preempted(f"preempted while scoring {what}; the same command scores it again")
        placed = sharding.place(batch, rows, scorer.mesh, micro_batches=False)
        items_BQ, scores = jax.device_get(scorer.score(params, placed))
        if out is None:
            out = jax.tree.map(lambda values: np.full((items, *values.shape[2:]), np.nan, np.float32), scores)
        filled = items_BQ >= 0
        for target, values in zip(jax.tree.leaves(out), jax.tree.leaves(scores), strict=True):
            target[items_BQ[filled]] = values[filled]
    return out
