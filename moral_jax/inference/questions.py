"""Scores the rows of a split with a model of ours."""

from moral_jax import sharding
from moral_jax.data import layout, pipeline
from moral_jax.inference.score import Scorer, score_items
from moral_jax.runs import records
from moral_jax.types import Params


def score_questions(
    scorer: Scorer, params: Params, questions: layout.Questions, shape: layout.Shape, prefetch: int, what: str
) -> list[records.Record]:
    """One record per example."""
    held = sharding.held_rows(shape.rows, shape.rows, scorer.mesh)
    scores = score_items(scorer, params, pipeline.scoring_batches(questions, shape, held), prefetch, what)
    return records.make_records(list(questions.examples), questions.items, scores)
