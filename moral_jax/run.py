"""The one wiring point: a config in, a run directory out."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from moral_jax import config_io
from moral_jax.config import Config
from moral_jax.data import pipeline
from moral_jax.evals import run as evals
from moral_jax.evals import summary
from moral_jax.evals.records import Record
from moral_jax.evals.score import make_scorer
from moral_jax.evals.table import from_examples
from moral_jax.experiment import Model, Prompter, find_model, load_params, provenance
from moral_jax.logs import RunLog, say
from moral_jax.models import api
from moral_jax.objectives import OBJECTIVES
from moral_jax.report import page
from moral_jax.tasks import registry
from moral_jax.tasks.archive import cache_folder
from moral_jax.train import loop, optim
from moral_jax.train.checkpoint import Checkpoints, Progress
from moral_jax.train.step import init_state, make_train_step
from moral_jax.types import Params, UserError

VALIDATED = ("cross_entropy", "dirichlet_nll", "accuracy")
JUDGED_BY = {  # the number of a validation by which an objective's best step is chosen
    "soft_cross_entropy": "cross_entropy",
    "count_cross_entropy": "cross_entropy",
    "dirichlet_multinomial": "dirichlet_nll",
}


def set_up_jax() -> None:
    """Keeps compiled programs on disk, so that a second start does not compile again."""
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 2.0)


def claim(config: Config, workdir: Path) -> None:
    """Makes the run directory, or accepts one that holds the same config.

    Raises:
      UserError: the directory holds a run of another config (shows the difference), or something else.
    """
    file = workdir / "config.json"
    if file.exists():
        if changed := config_io.difference(config_io.read(file), config):
            lines = "\n  ".join(changed)
            raise UserError(f"{workdir} holds a run of another config. Pass --workdir=ANOTHER, or undo:\n  {lines}")
        say(f"resuming {workdir}")
        return
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise UserError(f"{workdir} is not empty and holds no run (no config.json); pass --workdir=ANOTHER")
    workdir.mkdir(parents=True, exist_ok=True)
    config_io.save(config, file)


@dataclasses.dataclass(frozen=True)
class Bench:
    """All that the stages of a run share."""

    config: Config
    model: Model
    data: registry.Dataset
    scored: dict[str, pipeline.Questions]  # validation and test
    training: pipeline.Batches | None
    score: Callable[[Params, pipeline.Questions, str], list[Record]]


def set_up(config: Config) -> Bench:
    """Finds the model, reads and encodes the rows, and makes the scorer."""
    model = find_model(config)
    data = registry.load(config.task)
    prompter = Prompter(config, model)
    sides = {"validation": data.validation, "test": data.test}
    scored = {split: prompter.for_scoring(rows, split) for split, rows in sides.items() if rows}
    asked, epochs = prompter.for_training(data.train, config.train.epochs if config.train.steps != 0 else 0)
    everything = [*scored.values(), *([asked] if epochs else [])]
    if not everything:
        raise UserError("nothing to train on and nothing to score: config.task.validation and config.task.test are 0")
    shape = pipeline.shape_of(everything, config.data, config.eval.batch_size)
    training = None
    if epochs:
        rows = dataclasses.replace(shape, rows=config.data.batch_size)
        training = pipeline.training_batches(asked, epochs, config.train.seed, rows)
    scorer = make_scorer(model.policy)

    def score(params: Params, questions: pipeline.Questions, what: str) -> list[Record]:
        return evals.score_questions(scorer, params, questions, shape, config.data.prefetch, what)

    cut = sum(q.cut for q in everything)
    rows_said = ", ".join(f"{len(side)} {name}" for name, side in data._asdict().items() if isinstance(side, list))
    say(f"{data.provenance['description']}\nrows: {rows_said}" + (f"; {cut} prompts cut to fit" if cut else ""))
    return Bench(config, model, data, scored, training, score)


def total_steps(bench: Bench) -> int:
    """Optimizer steps of the run: as many as its epochs have batches, or `train.steps` if that is fewer."""
    available = len(bench.training) if bench.training else 0
    asked = bench.config.train.steps
    if asked is not None and asked > available:
        raise UserError(
            f"config.train.steps={asked}, but {bench.config.train.epochs} epochs have {available} steps; "
            f"raise --config.train.epochs"
        )
    return available if asked is None else asked


def fit(bench: Bench, base: Params, total: int, workdir: Path, checkpoints: Checkpoints) -> Progress:
    """Trains, or goes on where the last checkpoint stands."""
    config, policy = bench.config, bench.model.policy
    tx = optim.make(config.optim, total)
    latest = checkpoints.latest()
    if latest is None:
        state, progress = init_state(base, tx), Progress()
    else:
        like = jax.eval_shape(lambda: init_state(api.with_head(api.init_decoder(policy.spec, jax.random.key(0)), policy), tx))
        state, progress = checkpoints.restore(latest, like)
    del base  # its memory goes to the donated state
    if progress.finished:
        return progress

    def validate(params: Params) -> dict[str, float]:
        numbers = summary.point_estimates(bench.score(params, bench.scored["validation"], "validation"), VALIDATED)
        return numbers | {"loss": numbers[JUDGED_BY[config.objective.name]]}

    say(f"{total} steps; {bench.training.fill():.0%} of the tokens in training rows are real")
    with RunLog(workdir, progress.step) as log:
        return loop.train(
            state,
            progress,
            bench.training,
            total,
            make_train_step(OBJECTIVES[config.objective.name], policy, tx),
            validate if "validation" in bench.scored else None,
            optim.schedule(config.optim, total),
            config,
            checkpoints,
            log,
        )


def train(config: Config, workdir: Path) -> None:
    """Scores, trains, scores again, and writes the report. Every stage that is done already is not done again.

    Raises:
      UserError: whatever in the config, the data or the directory stops the run.
    """
    claim(config, workdir)
    set_up_jax()
    bench = set_up(config)
    total = total_steps(bench)
    evals.write_json(workdir / "provenance.json", provenance(config, bench.model, bench.data.provenance))
    prior = from_examples(bench.data.train) if bench.data.train else None
    base: list[Params] = []  # loaded when first needed, then handed over

    def load() -> Params:
        if not base:
            base.append(load_params(bench.model))
        return base[0]

    def stage(name: str, params: Callable[[], Params]) -> None:
        def score(questions: pipeline.Questions, split: str) -> list[Record]:
            return bench.score(params(), questions, f"{split} {name}")

        evals.write_metrics(workdir / name, evals.score_splits(workdir / name, bench.scored, score), None, prior, config)

    if bench.scored:
        stage("before", load)
    if total:
        with Checkpoints(workdir / "checkpoints") as checkpoints:
            fit(bench, load() if checkpoints.latest() is None else {}, total, workdir, checkpoints)
            base.clear()
            chosen = checkpoints.chosen(config.train.keep)
            if bench.scored:
                trained: list[Params] = []

                def best() -> Params:
                    if not trained:
                        trained.append(checkpoints.restore_params(chosen, api.abstract_params(bench.model.policy)))
                    return trained[0]

                stage("after", best)
    written = page.write(workdir)
    say(written.table)
    say(f"\nreport: {written.html}")
