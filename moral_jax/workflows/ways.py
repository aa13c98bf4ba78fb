"""What differs between runs on votes, on texts and on replies: how they are scored, validated and summarised.

`WAYS` is the one table. The loop, the run directory and the page know no kind by name.
"""

import functools
import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from moral_jax import sharding
from moral_jax.analysis import summary
from moral_jax.analysis.table import pad
from moral_jax.data import layout
from moral_jax.models import api
from moral_jax.report import page
from moral_jax.respondents.local import LocalRespondent
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.records import make_records
from moral_jax.runs.text_records import Likelihoods
from moral_jax.train import loop, optim
from moral_jax.types import Params, UserError
from moral_jax.workflows import references, voice
from moral_jax.workflows.evaluate import Answers, answers_of
from moral_jax.workflows.setup import TrainingSetup
from moral_jax.workflows.summarise import summarise, summarise_replies, summarise_texts


class Way(NamedTuple):
    """How the rows of a kind are scored, validated and summarised."""

    answers: Callable[[TrainingSetup, LocalRespondent], Answers]
    validate: Callable[[TrainingSetup, Params], dict[str, float]]  # "loss" chooses the best step
    summarise: Callable[[TrainingSetup, RunDirectory], page.Written | None]
    about: Callable[[TrainingSetup], str]  # what the console says of the steps
    tokens: Callable[[TrainingSetup, RunDirectory, int], int]  # that the steps up to one have learned from


def of(setup: TrainingSetup) -> Way:
    """Returns the way of a run."""
    if setup.rollouts is not None:
        return WAYS["replies"]
    return WAYS["texts" if setup.scoring.weighs else "votes"]


def training_stage(setup: TrainingSetup, run: RunDirectory) -> loop.Stage:
    """Returns what the loop is told: model, objective, optimizer, batches, evaluators."""
    config, model = setup.config, setup.files.model
    every = loop.validation_every(config.train, setup.total)
    validation = loop.Evaluator("validation", every, functools.partial(of(setup).validate, setup))
    return loop.Stage(
        model=model,
        objective=setup.objective,
        optimizer=optim.make(config.optim, setup.total),
        schedule=optim.schedule(config.optim, setup.total),
        source=setup.source,
        micro_rows=sharding.micro_batch_rows(config.data.micro_batch_size, model.compute.mesh),
        evaluators=(validation,) if "validation" in setup.scored else (),
        total=setup.total,
        options=config.train,
        profile=run.profile,
        check_first=functools.partial(
            references.check_first_step,
            model=model,
            why=f"the column {run.path / 'columns'} is of other weights or texts; remove that folder and start again",
        ),
    )


def questions_of(setup: TrainingSetup) -> dict[str, tuple[layout.Questions, layout.Shape]]:
    """Returns the questions whose reference is needed, and the shape in which they are scored.

    These are the rows that are trained on or validated, and the test rows where no initial stage says it of them.
    """
    shape, out = setup.scoring.shape, {}
    assert setup.batches is not None, "a run that trains rows"
    assert shape is not None, "set by prepare"
    out["train"] = setup.batches.questions, shape
    for split, asks in setup.scored.items():
        found = setup.scoring.prepared(asks)
        if found is not None and (split == "validation" or not setup.config.eval.initial):
            out[split] = found, shape
    return out


def _validate(setup: TrainingSetup, params: Params) -> dict[str, float]:
    """Returns the metrics of the validation rows; "loss" is the one that the objective is judged by."""
    asks = setup.scored["validation"]
    params = api.cast_for_scoring(params, setup.files.model)
    records = make_records(asks, setup.scoring.score(params, asks, "validation"))
    numbers = summary.point_estimates(records, summary.VALIDATED)
    return numbers | {"loss": numbers[setup.objective.judged_by]}


def _validate_texts(setup: TrainingSetup, params: Params) -> dict[str, float]:
    """Returns what the objective says of the validation rows: its own loss and numbers, without a formula of their own.

    "loss" is the one that it is judged by.
    """
    questions = setup.scoring.prepared(setup.scored["validation"])
    assert questions is not None, "prepared with the others"
    assert setup.scoring.shape is not None, "set by prepare"
    params = api.cast_for_scoring(params, setup.files.model)
    found = setup.scoring.score_questions(params, questions, setup.scoring.shape, "validation")
    assert isinstance(found, Likelihoods), "as texts are read"
    read = found.logp_EC, found.tokens_EC, found.log_concentration_E
    sums = setup.objective.on_likelihoods(*read, _counts(questions), questions.columns)
    numbers = {name: float(total / max(weight, 1e-20)) for name, (total, weight) in sums.items()}
    numbers.pop("reference_gap", None)
    return numbers | {"loss": numbers[setup.objective.judged_by]}


def _counts(questions: layout.Questions) -> np.ndarray:
    """Returns the votes of every entry, [entries, options]."""
    entries, most = range(len(questions.items)), questions.measures.options
    return pad([questions.votes(entry) for entry in entries], most).astype(np.float32)


def _validate_replies(setup: TrainingSetup, params: Params) -> dict[str, float]:
    """Returns what replies to the validation prompts are worth; "loss" is the reward, its sign turned."""
    assert setup.rollouts is not None, "of replies"
    examples, speaks = setup.scored["validation"].examples, setup.rollouts.voice
    params = api.cast_for_scoring(params, setup.files.model)
    numbers = voice.numbers(speaks.write(params, examples, speaks.asked(examples), "validation"))
    if "reward" not in numbers:
        raise UserError(
            f"config.rollout.reward={setup.config.rollout.reward!r}: says nothing (None) of any reply to the "
            f"validation prompts, by which the best step is chosen; correct it, or set --config.task.validation=0"
        )
    return numbers | {"loss": -numbers["reward"]}


def _answers_of_replies(setup: TrainingSetup, respondent: LocalRespondent) -> Answers:
    assert setup.rollouts is not None, "of replies"
    return voice.answers_of(setup.rollouts.voice, lambda: respondent.params)


def _summarise_texts(setup: TrainingSetup, run: RunDirectory) -> page.Written | None:
    beta = setup.config.objective.beta if setup.objective.columns else None  # of rewards, where there is a reference
    return summarise_texts(run, list(setup.scored), setup.config, beta)


def _about_batches(setup: TrainingSetup) -> str:
    assert setup.batches is not None, "a run that trains rows"
    return (
        f"rows are {setup.batches.fill():.1%} full, and what questions begin with in common saves "
        f"{setup.batches.shared_fraction():.0%} of their tokens"
    )


def _about_rollouts(setup: TrainingSetup) -> str:
    how = setup.config.rollout
    return f"{-(-setup.total // how.steps_each)} rollouts of {how.prompts} prompts with {how.sample.n} replies each"


def _tokens_of_batches(setup: TrainingSetup, _: RunDirectory, step: int) -> int:
    assert setup.batches is not None, "a run that trains rows"
    return setup.batches.tokens(step)


def _tokens_of_replies(setup: TrainingSetup, run: RunDirectory, step: int) -> int:
    """Returns the tokens that were written; a rollout is logged with the number of its first step."""
    how, log = setup.config.rollout, (run.path / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in log.splitlines()]
    lengths = [line["length"] for line in lines if line["kind"] == "rollout" and line["step"] <= step]
    return round(sum(lengths) * how.prompts * how.sample.n)


WAYS = {
    "votes": Way(
        lambda setup, respondent: answers_of(respondent, weighs=False),
        _validate,
        lambda setup, run: summarise(run, list(setup.scored), setup.data.voted, setup.config),
        _about_batches,
        _tokens_of_batches,
    ),
    "texts": Way(
        lambda setup, respondent: answers_of(respondent, weighs=True),
        _validate_texts,
        _summarise_texts,
        _about_batches,
        _tokens_of_batches,
    ),
    "replies": Way(
        _answers_of_replies,
        _validate_replies,
        lambda setup, run: summarise_replies(run, list(setup.scored), setup.config),
        _about_rollouts,
        _tokens_of_replies,
    ),
}
