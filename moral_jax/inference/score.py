"""The one scorer: option probabilities, or log-probabilities of texts, of every item, from packed batches."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from moral_jax import sharding
from moral_jax.data.layout import Questions, Shape
from moral_jax.data.pipeline import scoring_batches
from moral_jax.models import api
from moral_jax.models.read_out import StatesReadOut, read_out
from moral_jax.objectives.votes import log_probabilities
from moral_jax.runs.records import Choices
from moral_jax.runs.text_records import Likelihoods
from moral_jax.runtime import console, distributed, preemption
from moral_jax.types import NEG, Array, Batch, Params, Preempted


class ScoringPass(Protocol):
    """The compiled scoring pass."""

    def __call__(self, params: Params, batch: Batch, /) -> tuple[Array, Any]:
        """Returns items_BQ, and what was read: arrays [B, Q, ...], or [B, A] of `TokenReads`."""
        ...

    def lower(self, params: Params, batch: Batch, /) -> jax.stages.Lowered:
        """Returns the program for arguments of these shapes and shardings, not yet compiled."""
        ...


class Scorer(NamedTuple):
    """The compiled scoring pass and the mesh it runs on."""

    score: ScoringPass
    mesh: Mesh


def read_choices(read: StatesReadOut) -> Choices:
    """Reads the probabilities of options."""
    scores = read.options()
    return Choices(log_probabilities(scores.logits_BQC), read.log_option_mass(scores), scores.log_concentration_BQ)


def read_likelihoods(read: StatesReadOut) -> Likelihoods:
    """Reads the log-probabilities of texts."""
    return Likelihoods(*read.texts(), read.options().log_concentration_BQ)


def read_rewards(read: StatesReadOut) -> Likelihoods:
    """Reads the scores of a score head, where a reward stands in place of a log-probability."""
    scores = read.options()
    return Likelihoods(scores.logits_BQC, (scores.logits_BQC > NEG / 2) * 1.0, scores.log_concentration_BQ)


class TokenReads(NamedTuple):
    """What is read of every token of a batch, and whose it is; arrays [B, A]."""

    text_of_BA: Array
    logp_BA: Array
    entropy_BA: Array
    value_BA: Array  # of the critic; zeros where there is none


class OfTokens(NamedTuple):
    """What a model says about the tokens of one text, one after the other."""

    logp_T: np.ndarray
    entropy_T: np.ndarray
    value_T: np.ndarray


def make_token_scorer(model: api.Model, temperature: float) -> Scorer:
    """Returns the scorer that reads every token of texts; used and compiled once as that of `make_scorer`."""

    def read(found: StatesReadOut) -> TokenReads:
        logp_BA, entropy_BA = found.tokens(temperature)
        value_BA = found.value() if model.critic else jnp.zeros_like(logp_BA)
        return TokenReads(found.batch.asks.text_of_BA, logp_BA, entropy_BA, value_BA)

    return compiled(model, lambda *of: read(read_out(*of)))


def make_scorer(model: api.Model, *, weighs: bool = False) -> Scorer:
    """Returns the scorer of a model. Make it once and use it for every split, so that it compiles once.

    Args:
      weighs: true to read a number for each text (its reward if the model has a score head, else its log-probability),
        false to read shares of options.
    """
    read: Callable[[StatesReadOut], Choices | Likelihoods] = read_choices
    if weighs:
        read = read_rewards if model.score_rows else read_likelihoods
    return compiled(model, lambda *of: read(read_out(*of)))


def compiled(model: api.Model, read: Callable[[Params, api.Model, Batch], Any]) -> Scorer:
    """Returns the scorer that reads what `read` does of a batch: arrays [B, Q, ...], or [B, A] of `TokenReads`."""
    # forward alone, a loop over layers is as fast as a program that spells them out, and starts in half the time
    model = dataclasses.replace(model, compute=dataclasses.replace(model.compute, unroll=1))
    mesh = model.compute.mesh
    places = jax.tree.map(lambda leaf: leaf.sharding, api.abstract_params(model))
    places = (places, sharding.of_batch(mesh, micro_batches=False))

    # the output is small: every process gets all of it
    @functools.partial(jax.jit, in_shardings=places, out_shardings=sharding.replicated(mesh))
    def score(params: Params, batch: Batch) -> tuple[Array, Any]:
        return batch.asks.items_BQ, read(params, model, batch)

    return Scorer(score, mesh)


def score_questions(
    scorer: Scorer, params: Params, questions: Questions, shape: Shape, prefetch: int, what: str
) -> Choices | Likelihoods:
    """Scores every item. The result does not depend on how items share batches, up to float32 rounding.

    Args:
      params: as `models.api.cast_for_scoring` returns them.
      what: names the questions in the progress bar.

    Raises:
      Preempted: the work was told to end; asked before every batch, the first of which compiles.
    """
    return read_items(scorer, params, questions, shape, prefetch, what)


def read_items(scorer: Scorer, params: Params, questions: Questions, shape: Shape, prefetch: int, what: str) -> Any:
    """Returns what a scorer reads of every item, float32 arrays [items, ...]; otherwise as `score_questions`."""
    out = None
    for items_BQ, scores in _scored(scorer, params, questions, shape, prefetch, what):
        if out is None:
            items = len(questions.items)
            out = jax.tree.map(lambda x, n=items: np.full((n, *x.shape[2:]), np.nan, np.float32), scores)
        filled = items_BQ >= 0
        for target, values in zip(jax.tree.leaves(out), jax.tree.leaves(scores), strict=True):
            target[items_BQ[filled]] = values[filled]
    assert out is not None, "a split without items"
    return out


def score_tokens(
    scorer: Scorer, params: Params, questions: Questions, shape: Shape, prefetch: int, what: str
) -> list[OfTokens]:
    """Scores every token that is read, a result for each item, which has one text; otherwise as `score_questions`."""
    out: dict[int, OfTokens] = {}
    for items_BQ, found in _scored(scorer, params, questions, shape, prefetch, what):
        for b, q in zip(*np.nonzero(items_BQ >= 0), strict=True):
            here_A = found.text_of_BA[b] == q * shape.options
            out[int(items_BQ[b, q])] = OfTokens(*(values_BA[b, here_A] for values_BA in found[1:]))
    return [out[item] for item in range(len(questions.items))]


def _scored(
    scorer: Scorer, params: Params, questions: Questions, shape: Shape, prefetch: int, what: str
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yields what is read of each batch, on the host, with the items that it holds, [B, Q]."""
    local_rows = sharding.local_rows(shape.rows, shape.rows, scorer.mesh)
    batches = scoring_batches(questions, shape, local_rows, prefetch)
    agreed = distributed.AnyProcess()
    stream = batches.stream(0, len(batches))
    for batch in console.progress(stream, total=len(batches), desc=f"scoring {what}", unit="batch", leave=None):
        if agreed(preemption.noticed())[0]:
            raise Preempted(f"preempted while scoring {what}; the same command scores it again")
        placed = sharding.place(batch, shape.rows, scorer.mesh, micro_batches=False)
        yield jax.device_get(scorer.score(params, placed))
