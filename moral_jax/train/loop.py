"""The one training loop: dispatch, log, validate, save, keep the best, stop."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import NoReturn

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.data.pipeline import Batches
from moral_jax.runtime import console, distributed, preemption
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.train.manifest import Progress
from moral_jax.train.step import TrainStep, split_micro_batches
from moral_jax.types import Metrics, Params, Preempted, TrainState, UserError

Validate = Callable[[Params], dict[str, float]]  # must hold "loss"
Write = Callable[[int, str, dict[str, float]], None]  # step, kind of line, numbers


@dataclasses.dataclass
class Pending:
    """A step that was dispatched and whose metrics were not read yet: reading them would wait for it."""

    step: int
    metrics: Metrics
    items: np.ndarray


class Reader:
    """Reads each step's metrics one step late, and stops the run at the first number that is not finite.

    Beside a step's metrics it writes its `seconds`, from reading to reading, and which share of them the devices were
    `idle` at most, because the next batch was late.
    """

    def __init__(self, batches: Batches, write: Write, rate: Callable[[int], float], every: int, bar: tqdm):
        self.batches, self.write, self.rate, self.every, self.bar = batches, write, rate, every, bar
        self.pending: Pending | None = None
        self.since = time.perf_counter()
        self.idle = 0.0  # seconds of the running step

    def before_dispatch(self) -> None:
        """Counts how long the devices may have waited: from the last reading on, if by now they have nothing to do."""
        if self.pending and all(x.is_ready() for x in jax.tree.leaves(self.pending.metrics)):
            self.idle += time.perf_counter() - self.since

    def push(self, pending: Pending) -> None:
        self.flush()
        self.pending = pending

    def flush(self) -> None:
        if self.pending is None:
            return
        p, self.pending = self.pending, None
        sums = jax.device_get(p.metrics)
        values = {name: float(total / max(weight, 1e-20)) for name, (total, weight) in sums.items()}
        if not all(map(math.isfinite, values.values())):
            self._stop(p, values)
        values["lr"] = float(self.rate(p.step - 1))
        now = time.perf_counter()
        values["seconds"], values["idle"] = now - self.since, self.idle / (now - self.since)
        self.since, self.idle = now, 0.0
        if p.step % self.every == 0:
            self.write(p.step, "train", values)
        self.bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)

    def _stop(self, p: Pending, values: dict[str, float]) -> None:
        examples = self.batches.questions.examples
        ids = sorted({examples[self.batches.questions.items[i][0]].id for i in p.items[p.items >= 0]})
        bad = ", ".join(f"{k}={v}" for k, v in values.items() if not math.isfinite(v))
        raise UserError(
            f"step {p.step}: {bad}. Training stopped; the last checkpoint is untouched. Try a lower --config.optim.lr, "
            f"or look at the rows of this batch: {', '.join(ids)}"
        )


class Keeper:
    """Validates and saves where that is due, and ends the run where it was told to end.

    A validating step that is to be saved as well is saved first: if the validation is cut short, that alone is done
    again.
    """

    def __init__(
        self,
        progress: Progress,
        total: int,
        config: Config,
        checkpoints: Checkpoints,
        validate: Validate | None,
        write: Write,
    ):
        self.progress, self.total, self.config = progress, total, config.train
        self.checkpoints, self.validate, self.write = checkpoints, validate, write
        self.eval_every = config.train.eval_every or math.ceil(total / max(config.train.epochs, 1))
        self.saved_at = time.monotonic()  # the wall clock may be set, forward and back

    def clock_is_due(self) -> bool:
        """Whether the primary's clock wishes for a checkpoint; only it is asked, as clocks differ."""
        late = time.monotonic() - self.saved_at >= 60 * self.config.checkpoint_minutes
        return late and distributed.is_primary() and not self.checkpoints.saving()

    def validates(self, step: int) -> bool:
        return self.validate is not None and (step % self.eval_every == 0 or step == self.total)

    def _keeps(self, step: int) -> bool:
        """Whether the step's checkpoint is to stay, whatever its validation says."""
        return step == self.total or bool(self.config.checkpoint_every and step % self.config.checkpoint_every == 0)

    def due(self, step: int) -> bool:
        return self._keeps(step) or self.validates(step)

    def at(self, step: int, state: TrainState, frozen: Params, saves: bool, leaves: bool) -> None:
        """Does what is due after a step; `saves` and `leaves` if the clock or the scheduler say so.

        Raises:
          Preempted: the run was told to end, and its state is saved.
        """
        finished = step == self.total and not self.validates(step)
        self.progress = dataclasses.replace(self.progress, step=step, finished=finished)
        if saves or leaves or self._keeps(step):
            self._save(state)
        if leaves:
            self._leave()
        if self.validates(step):
            self.catch_up(state, frozen)

    def catch_up(self, state: TrainState, frozen: Params) -> None:
        """Validates the step at hand, if that is due and not done."""
        step = self.progress.step
        if not step or not self.validates(step) or self.progress.validated == step:
            return
        try:
            values = self.validate(frozen | state.params)
        except Preempted:
            self._save(state)
            self._leave()
        self.write(step, "validation", values)
        self.progress = _advance(self.progress, values["loss"])
        patience = self.config.patience
        stops = patience is not None and self.progress.without_best >= patience
        self.progress = dataclasses.replace(self.progress, finished=stops or step == self.total)
        if self.progress.best_step == step or self.progress.finished or self.checkpoints.has(step):
            self._save(state)

    def _save(self, state: TrainState) -> None:
        self.checkpoints.save(state, self.progress)
        self.saved_at = time.monotonic()

    def _leave(self) -> NoReturn:
        self.checkpoints.wait()
        step = self.progress.step
        raise Preempted(f"preempted: step {step} of {self.total} is saved; the same command goes on from there")


def _advance(progress: Progress, loss: float) -> Progress:
    """After a validation of the step at hand."""
    done = dataclasses.replace(progress, validated=progress.step)
    if progress.best_loss is None or loss < progress.best_loss:
        return dataclasses.replace(done, best_step=progress.step, best_loss=loss, without_best=0)
    return dataclasses.replace(done, without_best=progress.without_best + 1)


def train(
    state: TrainState,
    frozen: Params,
    progress: Progress,
    batches: Batches,
    total: int,
    step_fn: TrainStep,
    validate: Validate | None,
    rate: Callable[[int], float],
    config: Config,
    mesh: Mesh,
    checkpoints: Checkpoints,
    write: Write,
) -> Progress:
    """Trains from `progress.step` to `total` steps, or to an early stop; ends with a checkpoint.

    The batch of a step is a function of its number, so a resumed run sees what an unbroken one would have seen.

    Args:
      state, progress: fresh, or as restored.
      frozen: the parameters that are not trained.
      batches: batch i belongs to step i + 1; of each, this process holds its part of every micro-batch.
      total: steps in all.
      step_fn: the compiled step.
      validate: all parameters -> numbers with "loss"; None where there are no validation rows.
      rate: learning rate by step, for the log.
      config: `train` and `data` sections are read.
      mesh: where batches go.
      write: takes the lines of metrics.jsonl.

    Raises:
      UserError: loss or gradient are not finite; names the step and its rows.
      StorageError: a checkpoint or a line of the log cannot be written.
      Preempted: the run was told to end; the step it was at is saved.
    """
    stream = batches.stream(progress.step, total, config.data.prefetch)
    micro_rows = sharding.micro_batch_rows(config.data.micro_batch_size, mesh)
    micro_batches = batches.shape.rows // micro_rows
    keeper, agreed = Keeper(progress, total, config, checkpoints, validate, write), distributed.Agreement()
    with console.progress(total=total, initial=progress.step, desc="training", unit="step") as bar:
        keeper.catch_up(state, frozen)
        reader = Reader(batches, write, rate, config.train.log_every, bar)
        for step, batch in enumerate(stream, progress.step + 1):
            if keeper.progress.finished:
                break
            micro = split_micro_batches(batch, len(batches.held) // micro_batches)
            placed = sharding.place(micro, micro_rows, mesh, micro_batches=True)
            reader.before_dispatch()
            state, metrics = step_fn(state, frozen, placed)
            reader.push(Pending(step, metrics, batch.items_BQ))
            bar.update()
            checkpoints.check()
            saves, leaves = agreed(keeper.clock_is_due(), preemption.noticed())
            if saves or leaves or keeper.due(step):
                reader.flush()
                keeper.at(step, state, frozen, saves, leaves)
                reader.since = time.perf_counter()  # validation and saving are no part of the next step's time
    checkpoints.wait()
    return keeper.progress
