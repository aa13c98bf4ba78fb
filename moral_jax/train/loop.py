"""The one training loop: dispatch, log, validate, save, keep the best, stop.

How it works. The loop pulls a batch, puts it on the devices and dispatches the step; JAX returns at once.
`MetricReader` reads the numbers of the step before, so that the devices never wait for the host. `Scheduler` decides
after each step whether to save, to validate or to leave; only then does the host wait. The batch of a step is a
function of its number, so a resumed run sees what an unbroken one would have seen. The loop knows no objective and no
kind of batch by name.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

import jax
import optax
from tqdm import tqdm

from moral_jax import sharding
from moral_jax.config.train import TrainConfig
from moral_jax.models.api import Model
from moral_jax.objectives.base import Objective
from moral_jax.runtime import console, distributed, preemption
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.train.manifest import Progress
from moral_jax.train.profile import profiling
from moral_jax.train.step import make_train_step, split_micro_batches
from moral_jax.types import Batch, Metrics, Params, Preempted, Source, TrainState, UserError

Write = Callable[[int, str, dict[str, float]], None]  # step, kind of line, numbers


class Evaluator(NamedTuple):
    """Numbers that are computed from the parameters every so many steps, and at the end."""

    kind: str  # of its lines in metrics.jsonl
    every: int
    numbers: Callable[[Params], dict[str, float]]  # the first evaluator's hold "loss": it chooses the best step


def validation_every(options: TrainConfig, total: int) -> int:
    """Returns the steps between validations: as the options say, or once per epoch."""
    return options.eval_every or math.ceil(total / max(options.epochs, 1))


@dataclasses.dataclass(frozen=True)
class Stage:
    """What is trained, on what, and how: all that the loop is told."""

    model: Model
    objective: Objective
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule  # learning rate by step, for the log
    source: Source
    micro_rows: int  # packed rows in a micro-batch, of all processes together
    evaluators: tuple[Evaluator, ...]
    total: int  # steps
    options: TrainConfig
    profile: Path  # the directory of a profiler trace, where options.profile_steps asks for one
    check_first: Callable[[dict[str, tuple[float, float]]], None] = lambda _: None  # of the first step's metrics


@dataclasses.dataclass
class Pending:
    """A dispatched step whose metrics were not read yet: reading them would wait for it."""

    step: int
    metrics: Metrics
    batch: Batch


class MetricReader:
    """Reads each step's metrics one step late, and stops the run at the first number that is not finite.

    Beside a step's metrics it writes its `seconds`, from reading to reading, and `idle`, the largest share of them that
    the devices can have waited for the next batch.
    """

    def __init__(self, stage: Stage, write: Write, bar: tqdm):
        self.stage, self.write, self.bar = stage, write, bar
        self.pending: Pending | None = None
        self.since = time.perf_counter()
        self.idle = 0.0  # seconds of the running step

    def begin(self) -> None:
        """Takes note of a batch that came while no step was running: what it took is no part of a step's time."""
        if self.pending is None:
            self.since = time.perf_counter()

    def before_dispatch(self) -> None:
        """Counts the seconds since the last reading as idle, if the devices have nothing to do by now."""
        if self.pending and all(x.is_ready() for x in jax.tree.leaves(self.pending.metrics)):
            self.idle += time.perf_counter() - self.since

    def push(self, pending: Pending) -> None:
        """Reads the step before, and remembers this one."""
        self.flush()
        self.pending = pending

    def flush(self) -> None:
        """Reads the remembered step, waiting for it."""
        if self.pending is None:
            return
        p, self.pending = self.pending, None
        sums = jax.device_get(p.metrics)
        values = {name: float(total / max(weight, 1e-20)) for name, (total, weight) in sums.items()}
        if p.step == 1:
            self.stage.check_first(sums)
        if not all(map(math.isfinite, values.values())):
            self._stop(p, values)
        values["lr"] = float(self.stage.schedule(p.step - 1))
        now = time.perf_counter()
        values["seconds"], values["idle"] = now - self.since, self.idle / (now - self.since)
        self.since, self.idle = now, 0.0
        if p.step % self.stage.options.log_every == 0:
            self.write(p.step, "train", values)
        self.bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)

    def _stop(self, p: Pending, values: dict[str, float]) -> NoReturn:
        bad = ", ".join(f"{k}={v}" for k, v in values.items() if not math.isfinite(v))
        raise UserError(
            f"step {p.step}: {bad}. Training stopped; the last checkpoint is untouched. Try a lower --config.optim.lr, "
            f"or look at the rows of this batch: {', '.join(self.stage.source.names(p.batch))}"
        )


class Scheduler:
    """Validates and saves where that is due, and ends the run where it was told to end.

    A step that is both validated and saved is saved first, so an interrupted validation can be repeated without
    retraining the step.
    """

    def __init__(self, stage: Stage, progress: Progress, checkpoints: Checkpoints, write: Write):
        self.stage, self.progress, self.checkpoints, self.write = stage, progress, checkpoints, write
        self.saved_at = time.monotonic()  # the wall clock may be set, forward and back

    def clock_is_due(self) -> bool:
        """Returns true on the primary process once `checkpoint_minutes` have passed; clocks differ between hosts."""
        late = time.monotonic() - self.saved_at >= 60 * self.stage.options.checkpoint_minutes
        return late and distributed.is_primary() and not self.checkpoints.saving()

    def _due(self, step: int) -> list[Evaluator]:
        """Returns the evaluators that are due at a step."""
        return [e for e in self.stage.evaluators if step % e.every == 0 or step == self.stage.total]

    def _stays(self, step: int) -> bool:
        """Returns true if the step's checkpoint is to stay, whatever its validation says."""
        every = self.stage.options.checkpoint_every
        return step == self.stage.total or bool(every and step % every == 0)

    def due(self, step: int) -> bool:
        """Returns true if the host has to wait for this step."""
        return self._stays(step) or bool(self._due(step))

    def after_step(self, step: int, state: TrainState, frozen: Params, saves: bool, leaves: bool) -> None:
        """Does what is due after a step; `saves` and `leaves` are what the clock or the system's scheduler ask for.

        Raises:
          Preempted: the run was told to end, and its state is saved.
        """
        finished = step == self.stage.total and not self._due(step)
        self.progress = dataclasses.replace(self.progress, step=step, finished=finished)
        if saves or leaves or self._stays(step):
            self._save(state)
        if leaves:
            self._leave()
        self.validate_if_due(state, frozen)

    def validate_if_due(self, state: TrainState, frozen: Params) -> None:
        """Evaluates the current step, if that is due and not done."""
        step = self.progress.step
        due = self._due(step)
        if not step or not due or self.progress.validated == step:
            return
        try:
            numbers = [evaluator.numbers(frozen | state.params) for evaluator in due]
        except Preempted:
            self._save(state)
            self._leave()
        for evaluator, values in zip(due, numbers, strict=True):
            self.write(step, evaluator.kind, values)
        if due[0] is self.stage.evaluators[0]:
            self.progress = _with_validation(self.progress, numbers[0]["loss"])
        patience = self.stage.options.patience
        stops = patience is not None and self.progress.without_best >= patience
        self.progress = dataclasses.replace(self.progress, validated=step, finished=stops or step == self.stage.total)
        if self.progress.best_step == step or self.progress.finished or self.checkpoints.has(step):
            self._save(state)

    def leave_at(self, step: int, state: TrainState) -> NoReturn:
        """Saves the state after a step and ends; raises Preempted."""
        self.progress = dataclasses.replace(self.progress, step=step)
        if step:
            self._save(state)
        self._leave()

    def _save(self, state: TrainState) -> None:
        self.checkpoints.save(state, self.progress)
        self.saved_at = time.monotonic()

    def _leave(self) -> NoReturn:
        self.checkpoints.wait()
        step, total = self.progress.step, self.stage.total
        if step == 0:
            raise Preempted("preempted before the first step; the same command begins again")
        raise Preempted(f"preempted: step {step} of {total} is saved; the same command goes on from there")


def _with_validation(progress: Progress, loss: float) -> Progress:
    """Returns the progress after a validation of the current step."""
    if progress.best_loss is None or loss < progress.best_loss:
        return dataclasses.replace(progress, best_step=progress.step, best_loss=loss, without_best=0)
    return dataclasses.replace(progress, without_best=progress.without_best + 1)


def train(
    stage: Stage, state: TrainState, frozen: Params, progress: Progress, checkpoints: Checkpoints, write: Write
) -> Progress:
    """Trains from `progress.step` to `stage.total` steps, or to an early stop; ends with a checkpoint.

    Args:
      state, progress: fresh, or as restored.
      frozen: the parameters that are not trained.
      write: takes the lines of metrics.jsonl.

    Raises:
      UserError: loss or gradient are not finite; names the step and its rows.
      StorageError: a checkpoint or a line of the log cannot be written.
      Preempted: the run was told to end; the step it was at is saved.
    """
    source, mesh = stage.source, stage.model.compute.mesh
    step_fn = make_train_step(stage.objective, stage.model, stage.optimizer)
    rows_here = len(sharding.local_rows(stage.micro_rows, stage.micro_rows, mesh))  # of a micro-batch
    scheduler, agreed = Scheduler(stage, progress, checkpoints, write), distributed.AnyProcess()
    with (
        console.progress(total=stage.total, initial=progress.step, desc="training", unit="step") as bar,
        profiling(stage.options.profile_steps, stage.profile) as profiler,
    ):
        scheduler.validate_if_due(state, frozen)
        reader = MetricReader(stage, write, bar)

        def reached() -> Params:
            """Returns the parameters once the last step is known to be sound; the work of a source that asks for them
            is no part of a step's time."""
            reader.flush()
            return frozen | state.params

        stream = source.stream(progress.step, stage.total, reached)
        for step in range(progress.step + 1, stage.total + 1):
            if scheduler.progress.finished:
                break
            try:
                batch = next(stream)
            except Preempted:  # a source that works on the devices was told to end
                reader.flush()
                scheduler.leave_at(step - 1, state)
            reader.begin()
            profiler.before_step()
            micro = split_micro_batches(batch, rows_here)
            placed = sharding.place(micro, stage.micro_rows, mesh, micro_batches=True)
            reader.before_dispatch()
            state, metrics = step_fn(state, frozen, placed)
            reader.push(Pending(step, metrics, batch))
            bar.update()
            checkpoints.check()
            saves, leaves = agreed(scheduler.clock_is_due(), preemption.noticed())
            if saves or leaves or scheduler.due(step):
                reader.flush()
                scheduler.after_step(step, state, frozen, saves, leaves)
                reader.since = time.perf_counter()  # validation and saving are no part of the next step's time
    checkpoints.wait()
    return scheduler.progress
