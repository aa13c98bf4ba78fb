"""From a config to a training setup: rows, encoded questions, batches, and the stage that the loop is told."""

import dataclasses
import functools

import numpy as np

from moral_jax import objectives, sharding
from moral_jax.analysis import summary
from moral_jax.analysis.table import pad
from moral_jax.config import Config
from moral_jax.config.checks import check, check_unread
from moral_jax.data import layout, pipeline
from moral_jax.models import api
from moral_jax.objectives.base import Objective
from moral_jax.respondents.encode import ModelFiles
from moral_jax.respondents.local import Scoring
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.origin import NOT_BEGUN, Provenance
from moral_jax.runs.records import Asks, make_records
from moral_jax.runs.text_records import Likelihoods
from moral_jax.runtime.console import info
from moral_jax.tasks import load, registry, stored
from moral_jax.train import loop, optim
from moral_jax.types import Options, Params, Texts, UserError
from moral_jax.workflows import references
from moral_jax.workflows.local_model import InitialParams, find_model


def objective_of(config: Config) -> Objective:
    """Returns the config's objective.

    Raises:
      UserError: there is none of that name, or a field is set that it does not read.
    """
    section = config.objective
    objective = objectives.get(section.name)
    unread = tuple(
        f.name for f in dataclasses.fields(section) if f.name not in ("name", *objective.reads, *objective.settings)
    )
    check_unread(section, unread, f"{section.name} does not read it")
    _check_fits(config, objective)
    return objective.bound(section)


def _check_fits(config: Config, objective: Objective) -> None:
    """Refuses an objective that is not for the task, or not for the head."""
    name, kind, head = config.objective.name, registry.get(config.task.name).kind, config.model.head
    reads = Texts if kind != "votes" and head == "vocabulary" else Options
    if kind in objective.kinds and objective.asks is reads:
        for field in objective.positive:
            above_0 = getattr(config.objective, field) > 0
            check(config.objective, field, above_0, f"more than 0, because config.objective.name={name!r}")
        return
    fitting = [n for n, o in objectives.OBJECTIVES.items() if kind in o.kinds and o.asks is reads]
    raise UserError(
        f"config.objective.name={name!r}: is not for task {config.task.name!r} with config.model.head={head!r}; "
        f"expected {' or '.join(map(repr, fitting)) or 'config.model.head=vocabulary'}"
    )


def _check_pairs(config: Config, data: load.Dataset) -> None:
    """Refuses rows of more than two completions, of which an objective on pairs would compare the first two."""
    for rows in data.sides.values():
        for example in stored.brief(rows):
            if len(example.options) != 2:
                raise UserError(
                    f"row {example.id!r} has {len(example.options)} completions, but "
                    f"config.objective.name={config.objective.name!r} compares two; use 'dpo' or 'dpo_dirichlet'"
                )


@dataclasses.dataclass(frozen=True)
class TrainingSetup:
    """All that a run is made of, before anything is loaded."""

    config: Config
    files: ModelFiles
    data: load.Dataset
    scored: dict[str, Asks]  # validation and test
    scoring: Scoring
    prompts: dict[str, str]  # SHA-256 of all that is asked, by split
    objective: Objective
    batches: pipeline.Batches | None  # None: nothing is trained
    total: int  # optimizer steps
    initial: InitialParams


def training_setup(config: Config, began: Provenance = NOT_BEGUN) -> TrainingSetup:
    """Finds the model, reads and encodes the rows, and plans the batches.

    Args:
      began: the provenance of the run, if it goes on.

    Raises:
      UserError: whatever in the config or the data stops the run.
    """
    objective = objective_of(config)
    files = find_model(config, began=began)
    data = load.load(config.task)
    scoring = Scoring(config, files)
    encoder = scoring.encoder
    if registry.get(config.task.name).kind == "preferences" and config.task.on_bad_row == "drop":
        fitting = {s: encoder.fitting(rows, s) for s, rows in data.sides.items()}
        data = data._replace(train=fitting["train"], validation=fitting["validation"], test=fitting["test"])
    splits = {split: rows for split, rows in data.scored.items() if split != "test" or config.eval.test}
    scored = {split: Asks(rows, encoder.all_items(rows)) for split, rows in splits.items()}
    if objective.pairs_only:
        _check_pairs(config, data)
    epochs = config.train.epochs if config.train.steps != 0 else 0
    if epochs and not data.train and not config.task.test_only:
        raise UserError(
            "no training rows are left: all rows share a key, so that they stand on one side of the split; set "
            "--config.task.fields.key, or give validation and test files of their own"
        )
    asked, shown = encoder.for_training(data.train, epochs)
    trained = [asked] if shown else []
    if not scored and not trained:
        raise UserError("nothing to train on and nothing to score: config.task.validation and config.task.test are 0")
    scoring.prepare(scored, also=trained, columns=objective.columns)
    assert scoring.shape is not None, "set by prepare"
    batches = _training_batches(config, files.model, asked, shown, scoring.shape) if shown else None
    rows = ", ".join(f"{len(side)} {name}" for name, side in data.sides.items())
    cut = scoring.cut + sum(questions.cut for questions in trained)
    info(f"{data.provenance['description']}\nrows: {rows}" + (f"; {cut} prompts cut to fit" if cut else ""))
    total = _total_steps(config, batches)
    prompts = scoring.sha256 | ({"train": asked.measures.sha256} if shown else {})
    initial = InitialParams(config, files)
    return TrainingSetup(config, files, data, scored, scoring, prompts, objective, batches, total, initial)


def _training_batches(
    config: Config, model: api.Model, asked: layout.Questions, shown: list, scoring_shape: layout.Shape
) -> pipeline.Batches:
    mesh, data_rows = model.compute.mesh, config.data.batch_size
    micro_rows = sharding.micro_batch_rows(config.data.micro_batch_size, mesh)
    rows = sharding.batch_rows(data_rows, micro_rows)
    if rows > data_rows:
        empty = rows - data_rows
        info(f"{empty} of {rows} rows in a step stay empty: raise --config.data.batch_size to use all devices")
    shape = dataclasses.replace(scoring_shape, rows=rows, data_rows=data_rows)
    local_rows = sharding.local_rows(rows, micro_rows, mesh)
    return pipeline.training_batches(asked, shown, config.train.seed, shape, local_rows, config.data.prefetch)


def _total_steps(config: Config, batches: pipeline.Batches | None) -> int:
    """Returns the optimizer steps of the run: as many as its epochs have batches, or `train.steps` if fewer."""
    available, asked = len(batches) if batches else 0, config.train.steps
    if asked is not None and asked > available:
        raise UserError(
            f"config.train.steps={asked}, but {config.train.epochs} epochs have {available} steps; "
            f"raise --config.train.epochs"
        )
    return available if asked is None else asked


def training_stage(setup: TrainingSetup, run: RunDirectory) -> loop.Stage:
    """Returns what the loop is told: model, objective, optimizer, batches, evaluators."""
    config, model = setup.config, setup.files.model
    assert setup.batches is not None, "a run that trains nothing"
    every = loop.validation_every(config.train, setup.total)
    validate = _validate_texts if setup.scoring.weighs else _validate
    validation = loop.Evaluator("validation", every, functools.partial(validate, setup))
    return loop.Stage(
        model=model,
        objective=setup.objective,
        optimizer=optim.make(config.optim, setup.total),
        schedule=optim.schedule(config.optim, setup.total),
        source=setup.batches,
        micro_rows=sharding.micro_batch_rows(config.data.micro_batch_size, model.compute.mesh),
        evaluators=(validation,) if "validation" in setup.scored else (),
        total=setup.total,
        options=config.train,
        profile=run.profile,
        check_first=functools.partial(references.check_first_step, model=model, folder=run.path),
    )


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


def beta_of(setup: TrainingSetup) -> float | None:
    """Returns the beta of rewards; None where the objective has no reference."""
    return setup.config.objective.beta if setup.objective.columns else None


def questions_of(setup: TrainingSetup) -> dict[str, tuple[layout.Questions, layout.Shape]]:
    """Returns the questions whose reference is needed, and the shape in which they are scored.

    These are the rows that are trained on or validated, and the test rows where no initial stage says it of them.
    """
    shape, out = setup.scoring.shape, {}
    assert setup.batches is not None, "a run that trains nothing"
    assert shape is not None, "set by prepare"
    out["train"] = setup.batches.questions, shape
    for split, asks in setup.scored.items():
        found = setup.scoring.prepared(asks)
        if found is not None and (split == "validation" or not setup.config.eval.initial):
            out[split] = found, shape
    return out


def _counts(questions: layout.Questions) -> np.ndarray:
    """Returns the votes of every entry, [entries, options]."""
    entries, most = range(len(questions.items)), questions.measures.options
    return pad([questions.votes(entry) for entry in entries], most).astype(np.float32)
