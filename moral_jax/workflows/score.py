"""A number for each text of a file."""

import dataclasses
from typing import NamedTuple

from moral_jax.config import Config
from moral_jax.config.task import TaskConfig
from moral_jax.respondents.base import asks_of
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.origin import NOT_BEGUN
from moral_jax.tasks import load as task_rows
from moral_jax.tasks import registry
from moral_jax.types import UserError
from moral_jax.workflows.evaluate import local_respondent, on_texts


class Scored(NamedTuple):
    """A text and its number."""

    id: str
    score: float  # of a reward model; of others the log-probability of the text, in nats
    tokens: int  # that are read; of a reward model 1


def score_texts(config: Config, path: str, run: RunDirectory | None) -> list[Scored]:
    """Returns a number for each text of a file: its reward, or its log-probability.

    Args:
      config: names the model; its task is not read.
      run: score with the weights that this run stands for.

    Raises:
      UserError: a row is bad, or the run is about questions with options, so that `moral-jax ask` asks it.
    """
    if run and registry.kind_of(config.task) == "votes":
        raise UserError(
            f"{run.path}: was trained on questions with options; ask it with moral-jax ask --run={run.path}"
        )
    task = dataclasses.replace(TaskConfig(name="texts", path=path), replies="last")
    of_texts = on_texts(config, task)
    rows, _ = task_rows.of_one_file(path, of_texts.task)
    respondent, _ = local_respondent(of_texts, run, NOT_BEGUN)
    asks = asks_of(respondent, rows["rows"], of_texts.orders_of)
    respondent.prepare({"rows": asks})
    found = respondent.weigh(asks, "texts")
    return [
        Scored(e.id, float(logp_C[0]), int(tokens_C[0]))
        for e, logp_C, tokens_C in zip(asks.examples, found.logp_EC, found.tokens_EC, strict=True)
    ]
