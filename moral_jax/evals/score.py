"""Option probabilities of every item, from packed batches."""

from collections.abc import Callable

import jax
import numpy as np
from tqdm import tqdm

from moral_jax.data.pipeline import Batches
from moral_jax.evals.records import ItemScores
from moral_jax.models import api
from moral_jax.objectives.votes import log_probabilities
from moral_jax.types import Array, Batch, Params

Scorer = Callable[[Params, Batch], tuple[Array, Array, Array]]


def make_scorer(policy: api.Policy) -> Scorer:
    """The compiled scoring pass; make it once and use it for every split, so that it compiles once."""

    @jax.jit
    def score(params: Params, batch: Batch) -> tuple[Array, Array, Array]:
        scores, log_mass_BQ = api.score_options_and_mass(params, policy, batch)
        return log_probabilities(scores.logits_BQC), log_mass_BQ, scores.log_concentration_BQ

    return score


def score_items(scorer: Scorer, params: Params, batches: Batches, prefetch: int, what: str) -> ItemScores:
    """Scores every item. The result does not depend on how items share batches, up to float32 rounding."""
    E, C = len(batches.questions.items), batches.shape.options
    out = ItemScores(
        np.full((E, C), np.nan, np.float32), np.full(E, np.nan, np.float32), np.full(E, np.nan, np.float32)
    )
    stream = tqdm(
        batches.stream(0, len(batches), prefetch), total=len(batches), desc=f"scoring {what}", unit="batch", leave=None
    )
    for batch in stream:
        filled = batch.items_BQ >= 0
        items = batch.items_BQ[filled]
        for target, values in zip(out, scorer(params, batch), strict=True):
            target[items] = np.asarray(values)[filled]
    return out
