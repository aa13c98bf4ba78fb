"""The one wiring point: a config in, a run directory out."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from moral_jax import sharding
from moral_jax.analysis import calibrate, summary
from moral_jax.analysis.calibrate import Calibration
from moral_jax.analysis.table import from_records
from moral_jax.config import Config, saved
from moral_jax.config.model import AdapterConfig
from moral_jax.data import layout, pipeline
from moral_jax.inference import questions as evals
from moral_jax.inference.score import make_scorer
from moral_jax.models import api
from moral_jax.objectives import OBJECTIVES
from moral_jax.report import page
from moral_jax.runs.directory import claim, read_config, record, report, write_metrics
from moral_jax.runs.metric_log import RunLog
from moral_jax.runs.records import Record, read_jsonl, write_jsonl
from moral_jax.runtime import distributed, malloc
from moral_jax.runtime.console import say
from moral_jax.runtime.files import cache_folder, refusals, remove_folder, write_json
from moral_jax.tasks import registry
from moral_jax.train import loop, optim
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.train.manifest import Progress
from moral_jax.train.step import abstract_state, init_state, make_train_step
from moral_jax.types import Example, Params, UserError
from moral_jax.workflows.build import Model, Prompter, Weights, find_model, provenance

LONG_COMPILATION = 1.0  # seconds; shorter ones leave little


def set_up_jax() -> None:
    """Before the first computation. Compiled programs are kept on disk, so that a second start does not compile again;
    on a CPU, a step computes in the thread that asks for it, and takes the memory that the last one left. JAX's own
    environment variables have the last word."""
    ours = {
        "jax_compilation_cache_dir": str(cache_folder() / "xla"),
        "jax_persistent_cache_min_compile_time_secs": 0.5,
        # else steps that wait hold their temporaries already: each as much as the one that runs, none in the same place
        "jax_cpu_enable_async_dispatch": False,
    }
    for name, value in ours.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    if jax.default_backend() == "cpu" and malloc.is_ours():
        _reuse_memory()


@functools.cache  # once is enough
def _reuse_memory() -> None:
    def compiled(event: str, seconds: float, **_: object) -> None:
        # its temporaries need not lie beside what the compiler left
        if event == "/jax/core/compile/backend_compile_duration" and seconds > LONG_COMPILATION:
            malloc.give_back_pages()

    malloc.keep_pages()
    jax.monitoring.register_event_duration_secs_listener(compiled)


@dataclasses.dataclass(frozen=True)
class Bench:
    """All that the stages of a run share."""

    config: Config
    model: Model
    data: registry.Dataset
    scored: dict[str, layout.Questions]  # validation and test
    training: pipeline.Batches | None
    score: Callable[[Params, layout.Questions, str], list[Record]]


def scoring_shape(questions: Sequence[layout.Questions], config: Config, model: Model) -> layout.Shape:
    """The shape of scoring batches: all rows are used, and every device gets as many."""
    rows = sharding.micro_batch_rows(config.eval.batch_size, model.policy.execution.mesh)
    return layout.shape_of(questions, config.data, rows, rows)


def set_up(config: Config) -> Bench:
    """Finds the model, reads and encodes the rows, and makes the scorer."""
    model = find_model(config)
    data = registry.load(config.task)
    prompter = Prompter(config, model)
    sides = {split: side for split, side in data.scored.items() if split != "test" or config.eval.test}
    scored = {split: prompter.for_scoring(side, split) for split, side in sides.items()}
    asked, epochs = prompter.for_training(data.train, config.train.epochs if config.train.steps != 0 else 0)
    everything = [*scored.values(), *([asked] if epochs else [])]
    if not everything:
        raise UserError("nothing to train on and nothing to score: config.task.validation and config.task.test are 0")
    shape = scoring_shape(everything, config, model)
    training = None
    if epochs:
        mesh, used = model.policy.execution.mesh, config.data.batch_size
        micro_rows = sharding.micro_batch_rows(config.data.micro_batch_size, mesh)
        rows = sharding.batch_rows(used, micro_rows)
        held = sharding.held_rows(rows, micro_rows, mesh)
        of_step = dataclasses.replace(shape, rows=rows, used=used)
        training = pipeline.training_batches(asked, epochs, config.train.seed, of_step, held)
        if rows > used:
            say(f"{rows - used} of {rows} rows in a step stay empty: raise --config.data.batch_size to use all devices")
    scorer = make_scorer(model.policy)

    def score(params: Params, questions: layout.Questions, what: str) -> list[Record]:
        return evals.score_questions(scorer, scorer.ready(params), questions, shape, config.data.prefetch, what)

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


def fit(bench: Bench, weights: Weights, total: int, workdir: Path, checkpoints: Checkpoints) -> Progress:
    """Trains from the first weights, or goes on where the last checkpoint stands."""
    config, policy = bench.config, bench.model.policy
    tx = optim.make(config.optim, total)
    latest = checkpoints.latest()
    if latest is None:
        _, trained = api.split(weights.first, policy)
        state, progress = init_state(trained, policy, tx), Progress()
    else:
        check_adapter(config, checkpoints, latest)
        state, progress = checkpoints.restore(latest, abstract_state(policy, tx))
    if progress.finished:
        return progress
    distributed.leave_if_preempted("before training")

    def validate(params: Params) -> dict[str, float]:
        rows = bench.score(params, bench.scored["validation"], "validation")
        numbers = summary.point_estimates(rows, summary.VALIDATED)
        return numbers | {"loss": numbers[summary.JUDGED_BY[config.objective.name]]}

    say(
        f"training: {total} steps; rows are {bench.training.fill():.1%} full, and what questions begin with in common "
        f"saves {bench.training.saved():.0%} of their tokens"
    )
    with contextlib.ExitStack() as open_files:
        log = None
        if distributed.is_primary():
            log = open_files.enter_context(RunLog(workdir, progress.step, progress.validated))
        return loop.train(
            state,
            weights.frozen,
            progress,
            bench.training,
            total,
            make_train_step(OBJECTIVES[config.objective.name], policy, tx),
            validate if "validation" in bench.scored else None,
            optim.schedule(config.optim, total),
            config,
            policy.execution.mesh,
            checkpoints,
            log.write if log else lambda *line: None,
        )


def train(config: Config, workdir: Path, resume_from: int | None = None) -> page.Written | None:
    """Scores, trains, scores again, and writes the report; what stands in `workdir` already is not done again.

    Args:
      resume_from: go on from the checkpoint of this step, not from the latest, and drop what came after it.

    Returns:
      The report; None where there are no rows to score.

    Raises:
      UserError: whatever in the config, the data or the directory stops the run.
      StorageError: the disk does, or a checkpoint is damaged.
      Preempted: the work was told to end, and can go on.
    """
    set_up_jax()
    distributed.same_everywhere("the config", dataclasses.asdict(config))
    with contextlib.ExitStack() as held:
        distributed.from_primary(lambda: held.enter_context(claim(config, workdir)))
        return _train(config, workdir, resume_from)


def _go_back(workdir: Path, checkpoints: Checkpoints, step: int) -> None:
    """Drops what came after a step that is whole, first of all what was scored then: without its weights, nobody could
    tell that it is of others."""
    checkpoints.verify(step)
    if (workdir / "after").exists():
        remove_folder(workdir / "after")
    checkpoints.drop_after(step)


def _train(config: Config, workdir: Path, resume_from: int | None) -> page.Written | None:
    bench = set_up(config)
    distributed.same_everywhere("the data", sorted(bench.data.provenance["sha256"].values()))
    total = total_steps(bench)

    def recorded() -> dict[str, Any]:
        about = provenance(config, bench.model, bench.data.provenance)
        record(workdir, about)
        return {"versions": about["versions"], "weights": about["model"]["sha256"]}

    about = {"config": dataclasses.asdict(config)} | distributed.from_primary(recorded)
    weights = Weights(config, bench.model)
    if config.eval.before:
        score_stage(bench, workdir / "before", lambda: weights.first)
    if total:
        with Checkpoints(workdir / "checkpoints", about, config.train.checkpoint_every) as checkpoints:
            if resume_from is not None:
                distributed.from_primary(lambda: _go_back(workdir, checkpoints, resume_from))
            fit(bench, weights, total, workdir, checkpoints)
            score_stage(bench, workdir / "after", functools.cache(lambda: restored(config, weights, checkpoints)))
    return report(workdir, bench.scored, bench.data.train, config) if distributed.is_primary() else None


def check_adapter(config: Config, checkpoints: Checkpoints, step: int) -> None:
    """Refuses a checkpoint whose adapters mean something else than the config says."""
    saved = dataclasses.asdict(AdapterConfig()) | checkpoints.seal(step).about["config"]["adapter"]
    asked = dataclasses.asdict(config.adapter)
    for field, value in asked.items():
        if saved[field] != value:
            raise UserError(
                f"{checkpoints.folder}: was saved with adapter.{field}={saved[field]!r}, the run's config.json says "
                f"{value!r}; put back what it was"
            )


def restored(config: Config, weights: Weights, checkpoints: Checkpoints) -> Params:
    """The parameters that a run stands for: what was trained, from the checkpoint, beside what was not."""
    chosen, policy = checkpoints.chosen(config.train.keep), weights.model.policy
    check_adapter(config, checkpoints, chosen)
    _, like = api.split(api.abstract_params(policy), policy)
    return weights.frozen | checkpoints.restore_params(chosen, like)


def score_stage(bench: Bench, folder: Path, params: Callable[[], Params]) -> None:
    """Writes the records of each split to `folder`, unless they are there: all processes score, the primary writes."""

    def is_there(split: str) -> bool:
        """Whole: what was cut, by whomever, is not taken as done."""
        try:
            records = read_jsonl(folder / f"{split}.jsonl")
        except (FileNotFoundError, UserError):
            return False
        return [r["id"] for r in records] == [e.id for e in bench.scored[split].examples]

    for split in distributed.from_primary(lambda: [s for s in bench.scored if not is_there(s)]):
        distributed.leave_if_preempted(f"before scoring {split} {folder.name}")
        rows = bench.score(params(), bench.scored[split], f"{split} {folder.name}")
        if distributed.is_primary():
            with refusals(folder):
                folder.mkdir(parents=True, exist_ok=True)
            write_jsonl(folder / f"{split}.jsonl", rows)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model with its weights, and how it is asked."""

    config: Config
    model: Model
    params: Params  # as scoring reads them
    calibration: Calibration | None


def load_run(folder: Path) -> Trained:
    """The weights that a run stands for, with the calibration that its validation rows give."""
    config = read_config(folder)
    model = find_model(config)
    weights = Weights(config, model)
    if not (folder / "checkpoints").exists():
        return Trained(config, model, weights.as_read(), None)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        params = api.as_read(restored(config, weights, checkpoints), model.policy)
    validation = folder / "after" / "validation.jsonl"
    rows = read_jsonl(validation) if validation.exists() else []
    return Trained(config, model, params, calibrate.fit(from_records(rows)) if rows else None)


def load_untrained(config: Config) -> Trained:
    """The weights as they come, asked in the config's way."""
    model = find_model(config)
    return Trained(config, model, Weights(config, model).as_read(), None)


def answerer(trained: Trained) -> Callable[[list[Example]], list[Record]]:
    """A function from examples to records. It keeps room for a few more options than it was last asked about, so that
    questions one by one do not compile again each time."""
    config, scorer = trained.config, make_scorer(trained.model.policy)
    prompter = Prompter(config, trained.model)

    def answer(examples: list[Example]) -> list[Record]:
        questions = prompter.for_scoring(examples, "questions")
        shape = scoring_shape([questions], config, trained.model)
        shape = layout.shape_of_few(questions, shape, sharding.micro_batch_rows(1, trained.model.policy.execution.mesh))
        shape = dataclasses.replace(shape, options=-(-shape.options // 8) * 8)
        return evals.score_questions(scorer, trained.params, questions, shape, config.data.prefetch, "questions")

    return answer


def evaluate(trained: Trained, path: str, out: Path) -> page.Written:
    """Scores a file of rows in the task's format and writes records, numbers and the page to `out`.

    Raises:
      UserError: `out` holds something else already, or a row is bad.
    """
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out={out}: is not empty; name a new directory")
    config = trained.config
    examples = registry.read(path, config.task)
    out.mkdir(parents=True, exist_ok=True)
    saved.save(config, out / "config.json")
    about = registry.provenance(config.task, {"rows": path}, {"rows": len(examples)})
    write_json(out / "provenance.json", provenance(config, trained.model, about))
    rows = answerer(trained)(examples)
    write_jsonl(out / "rows.jsonl", rows)
    write_metrics(out, {"rows": rows}, trained.calibration, None, config)
    return page.write(out)
