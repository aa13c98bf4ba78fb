"""From a config to a training setup: rows, encoded questions, batches, and the stage that the loop is told."""

import dataclasses
import functools
from collections.abc import Sized

from moral_jax import objectives, sharding
from moral_jax.config import Config
from moral_jax.config.checks import check, check_unread
from moral_jax.data import layout, pipeline
from moral_jax.models import api
from moral_jax.objectives.base import Objective
from moral_jax.respondents.encode import ModelFiles
from moral_jax.respondents.local import Scoring
from moral_jax.runs.origin import NOT_BEGUN, Provenance
from moral_jax.runs.records import Asks, as_given
from moral_jax.runtime.console import info
from moral_jax.tasks import load, registry, stored
from moral_jax.types import RETURN, Options, Texts, UserError
from moral_jax.workflows import rollouts, voice
from moral_jax.workflows.local_model import InitialParams, find_model
from moral_jax.workflows.setup import TrainingSetup


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
    _check_rollout(config, objective)
    bound = objective.bound(section)
    if "prompts" not in objective.kinds:
        return bound
    return bound._replace(loss=functools.partial(bound.loss, temperature=config.rollout.sample.temperature))


def _check_rollout(config: Config, objective: Objective) -> None:
    """Refuses settings of rollouts that nothing reads, or from which nothing can be learned."""
    how, sample = config.rollout, config.rollout.sample
    if "prompts" not in objective.kinds:
        why = f"config.objective.name={config.objective.name!r} writes no rollouts"
        check_unread(how, tuple(f.name for f in dataclasses.fields(how) if f.name != "sample"), why)
        check_unread(sample, tuple(f.name for f in dataclasses.fields(sample)), why)
        return
    critic = RETURN in objective.columns
    check_unread(how, ("baseline", "scale") if critic else ("discount", "trace", "whiten"), "nothing reads it here")
    check(sample, "temperature", sample.temperature > 0, "more than 0: the likeliest token is no sample")
    if critic:
        return
    scaled = how.scale == "group"
    check(how, "baseline", how.baseline != "none" or not scaled, "a baseline, or set config.rollout.scale='none'")
    if how.baseline == "none":
        return
    check(sample, "n", sample.n > 1, "at least 2 replies to compare, or config.objective.name='ppo'")
    check(
        sample, "n", sample.n > 2 or not scaled,
        "at least 3: two replies differ by 1.41 standard deviations however small their difference is; or set "
        "config.rollout.scale='none'",
    )  # fmt: skip


def _check_fits(config: Config, objective: Objective) -> None:
    """Refuses an objective that is not for the task, or not for the head."""
    name, kind, head = config.objective.name, registry.kind_of(config.task), config.model.head
    reads_texts = "text" if kind == "mixed" else "vocabulary"  # votes beside texts are on texts too
    reads = Texts if kind != "votes" and head == reads_texts else Options
    if kind in objective.kinds and objective.asks is reads:
        for field in objective.positive:
            above_0 = getattr(config.objective, field) > 0
            check(config.objective, field, above_0, f"more than 0, because config.objective.name={name!r}")
        return
    fitting = [n for n, o in objectives.OBJECTIVES.items() if kind in o.kinds and o.asks is reads]
    raise UserError(
        f"config.objective.name={name!r}: is not for task {config.task.name!r} with config.model.head={head!r}; "
        f"expected {' or '.join(map(repr, fitting)) or f'config.model.head={reads_texts}'}"
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


def training_setup(config: Config, began: Provenance = NOT_BEGUN) -> TrainingSetup:
    """Finds the model, reads and encodes the rows, and plans the batches.

    Args:
      began: the provenance of the run, if it goes on.

    Raises:
      UserError: whatever in the config or the data stops the run.
    """
    objective = objective_of(config)
    files = find_model(config, began=began)
    InitialParams(config, files).check()
    data = load.load(config.task)
    if registry.get(config.task.name).kind == "prompts":
        return _rollouts_setup(config, objective, files, data)
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


def _rollouts_setup(config: Config, objective: Objective, files: ModelFiles, data: load.Dataset) -> TrainingSetup:
    """Returns the setup of reinforcement learning: prompts, and the rollouts that will be written for them."""
    scoring, initial = Scoring(config, files), InitialParams(config, files)
    speaks = voice.of(config, scoring.encoder)
    fitting = {split: speaks.fitting(rows, split) if rows else rows for split, rows in data.sides.items()}
    data = data._replace(train=fitting["train"], validation=fitting["validation"], test=fitting["test"])
    info(f"{data.provenance['description']}\nrows: " + ", ".join(f"{len(r)} {s}" for s, r in data.sides.items()))
    if config.trains and not config.task.test_only and len(data.train) < config.rollout.prompts:
        raise UserError(
            f"config.rollout.prompts={config.rollout.prompts}: there are {len(data.train)} training prompts; take "
            f"fewer, or lower config.task.validation and config.task.test"
        )
    splits = {split: rows for split, rows in data.scored.items() if split != "test" or config.eval.test}
    scored = {split: as_given(rows) for split, rows in splits.items()}
    asked = {split: speaks.asked(rows) for split, rows in data.sides.items() if rows}
    found = rollouts.Rollouts(config, objective, speaks, data.train, asked.get("train", []), initial.reference)
    total = _total_steps(config, found) if config.trains and data.train else 0
    hashes = {split: voice.sha256(of_split) for split, of_split in asked.items()}
    return TrainingSetup(config, files, data, scored, scoring, hashes, objective, None, total, initial, found)


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


def _total_steps(config: Config, batches: Sized | None) -> int:
    """Returns the optimizer steps of the run: as many as its epochs have batches, or `train.steps` if fewer."""
    available, asked = 0 if batches is None else len(batches), config.train.steps
    if asked is not None and asked > available:
        raise UserError(
            f"config.train.steps={asked}, but {config.train.epochs} epochs have {available} steps; "
            f"raise --config.train.epochs"
        )
    return available if asked is None else asked
