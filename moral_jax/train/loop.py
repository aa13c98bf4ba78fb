"""The one training loop: dispatch, log, validate, keep the best, stop."""

import dataclasses
import math
import time
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from moral_jax import logs, sharding
from moral_jax.config import Config
from moral_jax.data.pipeline import Batches
from moral_jax.train.checkpoint import Checkpoints, Progress
from moral_jax.train.step import TrainStep, split_micro_batches
from moral_jax.types import Metrics, Params, TrainState, UserError

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


def _advance(progress: Progress, step: int, loss: float) -> Progress:
    if progress.best_loss is None or loss < progress.best_loss:
        return dataclasses.replace(progress, step=step, best_step=step, best_loss=loss, without_best=0)
    return dataclasses.replace(progress, step=step, without_best=progress.without_best + 1)


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
      config: `train` and `data` sections are read; `adapter` goes into the checkpoints.
      mesh: where batches go.
      write: takes the lines of metrics.jsonl.

    Raises:
      UserError: loss or gradient are not finite; names the step and its rows.
    """
    c = config.train
    eval_every = c.eval_every or math.ceil(total / max(c.epochs, 1))
    stream = batches.stream(progress.step, total, config.data.prefetch)
    micro_rows = sharding.micro_batch_rows(config.data.micro_batch_size, mesh)
    micro_batches = batches.shape.rows // micro_rows
    with logs.progress(total=total, initial=progress.step, desc="training", unit="step") as bar:
        reader = Reader(batches, write, rate, c.log_every, bar)
        for step, batch in enumerate(stream, progress.step + 1):
            micro = split_micro_batches(batch, len(batches.held) // micro_batches)
            placed = sharding.place(micro, micro_rows, mesh, micro_batches=True)
            reader.before_dispatch()
            state, metrics = step_fn(state, frozen, placed)
            reader.push(Pending(step, metrics, batch.items_BQ))
            bar.update()
            validates = validate is not None and (step % eval_every == 0 or step == total)
            if not (validates or step == total or (c.checkpoint_every and step % c.checkpoint_every == 0)):
                continue
            reader.flush()
            loss = None
            if validates:
                values = validate(frozen | state.params)
                loss = values["loss"]
                write(step, "validation", values)
                progress = _advance(progress, step, loss)
            stops = c.patience is not None and progress.without_best >= c.patience
            progress = dataclasses.replace(progress, step=step, finished=stops or step == total)
            checkpoints.save(state, progress, loss, dataclasses.asdict(config.adapter))
            reader.since = time.perf_counter()  # validation and saving are no part of the next step's time
            if stops:
                break
    checkpoints.wait()
    return progress
