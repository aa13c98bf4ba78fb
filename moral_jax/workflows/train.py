"""A training run, from top to bottom: a config in, a run directory out."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moral_jax.config import Config
from moral_jax.models import api
from moral_jax.report import page
from moral_jax.respondents.local import LocalRespondent
from moral_jax.runs import directory, origin, rollouts
from moral_jax.runs.directory import INITIAL, TRAINED, RunDirectory
from moral_jax.runs.metric_log import RunLog
from moral_jax.runtime import distributed, jax_setup
from moral_jax.runtime.console import info
from moral_jax.runtime.files import remove_folder
from moral_jax.train import loop, manifest
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.train.manifest import Progress
from moral_jax.train.step import abstract_state, init_state
from moral_jax.types import REFERENCE, Params, StorageError, UserError
from moral_jax.workflows import build, earlier, local_model, provenance, references, ways
from moral_jax.workflows.evaluate import answer
from moral_jax.workflows.setup import TrainingSetup


def train(config: Config, workdir: Path, resume_from: int | None = None) -> page.Written | None:
    """Scores, trains, scores again, and writes the report; what stands in `workdir` already is not done again.

    Args:
      resume_from: go on from the checkpoint of this step, not from the latest, and drop what came after it.

    Returns:
      The report; None on all processes but the primary, and where there are no rows to score.

    Raises:
      UserError: whatever in the config, the data or the directory stops the run.
      StorageError: the disk does, or a checkpoint is damaged.
      Preempted: the work was told to end, and can go on.
    """
    if config.respondent.kind != "local":
        raise UserError(f"config.respondent.kind={config.respondent.kind!r}: cannot be trained; use moral-jax eval")
    jax_setup.configure()
    distributed.same_everywhere("the config", dataclasses.asdict(config))
    with _claimed(config, workdir) as run:  # 1. the directory is ours, and holds this config or none
        began = distributed.from_primary(lambda: origin.read(run.path))
        setup = build.training_setup(config, began)  # 2. model, rows, batches, objective; nothing is loaded yet
        distributed.same_everywhere("the data", sorted(setup.data.provenance["sha256"].values()))
        distributed.same_everywhere("the prompts", setup.prompts)
        way = ways.of(setup)
        about = provenance.about_model(config, setup.files) if distributed.is_primary() else {}
        at_start = distributed.from_primary(lambda: _record(run, setup, about))
        if config.eval.initial:  # 3. score the model as it comes
            first = LocalRespondent(setup.scoring, lambda: _initial(setup), lambda: about)
            answer(way.answers(setup, first), setup.scored, run.stage(INITIAL))
            del first  # and its parameters, before training needs the memory
        if setup.total:
            with Checkpoints(run.checkpoints, at_start, config.train.checkpoint_every) as checkpoints:
                if resume_from is not None:
                    distributed.from_primary(lambda: _rewind_to(resume_from, run, checkpoints))
                _train_or_resume(setup, run, checkpoints, about)  # 4. the one loop
                distributed.from_primary(lambda: _record(run, setup, about, _trained(run, setup)))
                chosen = LocalRespondent(
                    setup.scoring,
                    lambda: local_model.selected_params(config, setup.initial, checkpoints),
                    lambda: about,
                )
                # 5. the one scorer
                answer(way.answers(setup, chosen), setup.scored, run.stage(TRAINED))
        if not distributed.is_primary():
            return None
        return way.summarise(setup, run)  # 6. records -> numbers -> page


@contextlib.contextmanager
def _claimed(config: Config, workdir: Path) -> Iterator[RunDirectory]:
    """Claims the directory on the primary process, for all of them."""
    stages = [INITIAL] * config.eval.initial + [TRAINED] * config.trains
    with contextlib.ExitStack() as held:

        def claim() -> None:
            held.enter_context(directory.claim(config, workdir, stages))

        distributed.from_primary(claim)
        yield RunDirectory(workdir)


def _record(
    run: RunDirectory, setup: TrainingSetup, about: dict[str, Any], trained: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Writes where the numbers come from; returns what checkpoints keep of it.

    Args:
      trained: what tells the weights that the run stands for from others, once it has them.
    """
    now = provenance.of_local(setup.files, about, setup.data.provenance, setup.prompts)
    origin.record(run.path, now | ({"trained": trained} if trained else {}))
    return {"config": dataclasses.asdict(setup.config), "versions": now["versions"], "hashes": origin.hashes_of(now)}


def _trained(run: RunDirectory, setup: TrainingSetup) -> dict[str, Any]:
    """Returns what tells the weights that a finished run stands for from others, and how many tokens made them."""
    trained = earlier.trained_of(run, setup.config)
    return trained | {"tokens": ways.of(setup).tokens(setup, run, trained["step"])}


def _initial(setup: TrainingSetup) -> Params:
    """Returns the parameters that training starts from, cast for scoring."""
    return api.cast_for_scoring(setup.initial.training(), setup.files.model)


def _rewind_to(step: int, run: RunDirectory, checkpoints: Checkpoints) -> None:
    """Drops what came after a step; otherwise stale scores would survive beside checkpoints they do not belong to."""
    checkpoints.verify(step)
    if run.stage(TRAINED).exists():
        remove_folder(run.stage(TRAINED))
    checkpoints.drop_after(step)
    rollouts.drop_after(run.path / rollouts.FOLDER, step)
    sealed = manifest.read(run.checkpoints, step)
    best = sealed.progress.best_step
    if best in (None, step):
        return
    try:
        checkpoints.verify(best)
    except (UserError, StorageError):
        info(f"{run.checkpoints}: the best step, {best}, is lost; until another is found, the last one counts")
        without = dataclasses.replace(sealed.progress, best_step=None, best_loss=None, without_best=0)
        manifest.write(run.checkpoints, dataclasses.replace(sealed, progress=without))


def _train_or_resume(
    setup: TrainingSetup, run: RunDirectory, checkpoints: Checkpoints, about: dict[str, Any]
) -> Progress:
    """Trains from the initial parameters, or resumes from the last checkpoint."""
    model, stage = setup.files.model, ways.training_stage(setup, run)
    latest = checkpoints.latest()
    if latest is None:
        _, trained = api.split(setup.initial.training(), model)
        state, progress = init_state(trained, model, stage.optimizer), Progress()
    else:
        earlier.check_checkpoint(checkpoints, latest)
        state, progress = checkpoints.restore(latest, abstract_state(model, stage.optimizer))
    if progress.finished:
        return progress
    distributed.leave_if_preempted("before training")
    if REFERENCE in setup.objective.columns:
        references.fill(run.path, setup.scoring, setup.initial, about, ways.questions_of(setup))
    info(f"training: {stage.total} steps; {ways.of(setup).about(setup)}")
    with contextlib.ExitStack() as open_files:
        log = None
        if distributed.is_primary():
            log = open_files.enter_context(RunLog(run.path, progress.step, progress.validated))
        write = log.write if log else lambda *line: None
        if setup.rollouts is not None:
            setup.rollouts.folder, setup.rollouts.log = run.path, write
        return loop.train(stage, state, setup.initial.frozen, progress, checkpoints, write)
