"""The loop: early stop, best kept, NaN named, checkpoints at the right moments. A script stands for the model."""

import contextlib
import json
import shutil
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax.config.train import TrainConfig
from moral_jax.runs.metric_log import RunLog
from moral_jax.train import loop, manifest
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.train.manifest import Progress
from moral_jax.types import Batch, Options, Tokens, TrainState, UserError
from tests.helpers import tiny


class Plan:
    """A source: batch n holds item n."""

    def __init__(self, count, late=0.0):
        self.count, self.late = count, late

    def __len__(self):
        return self.count

    def stream(self, start, stop, params):
        for n in range(start, stop):
            time.sleep(self.late)
            leaf = np.zeros((1, 1), np.float32)
            yield Batch(Tokens(*[leaf] * 5), Options(*[leaf] * 5, items_BQ=np.array([[n]])))

    def names(self, batch):
        return [f"row-{n}" for n in batch.asks.items_BQ.ravel()]


def step_fn(losses):
    def step(state, frozen, batch):
        n = int(batch.asks.items_BQ.ravel()[0])
        value = jnp.float32(losses[n])
        return TrainState(state.step + 1, {"w": state.params["w"] + 1}, state.opt_state), {
            "loss": (value, jnp.ones(()))
        }

    return step


def stage_of(tmp_path, source, options, evaluators=()):
    """A stage of one device whose model is never asked for anything but its mesh."""
    return loop.Stage(
        model=SimpleNamespace(compute=SimpleNamespace(mesh=tiny.mesh(1, 1, 1))),
        objective=None,
        optimizer=None,
        schedule=lambda n: 0.1 * n,
        source=source,
        micro_rows=1,
        evaluators=evaluators,
        total=len(source),
        options=options,
        profile=tmp_path / "profile",
    )


def scripted(stage, step, state, progress, checkpoints, write):
    """The loop with a script in place of the compiled step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_train_step", lambda *_: step)
        return loop.train(stage, state, {}, progress, checkpoints, write)


def run(tmp_path, total=6, losses=None, validation=None, state=None, progress=None, late=0.0, **train):
    options = TrainConfig(**{"epochs": 1, **train})
    seen = []

    def validate(params):
        seen.append(int(params["w"]))
        return {"loss": validation[len(seen) - 1], "accuracy": 0.5}

    progress = progress or Progress()
    every = options.checkpoint_every
    with (
        Checkpoints(tmp_path / "c", {}, every) as checkpoints,
        RunLog(tmp_path, progress.step, progress.validated) as log,
    ):
        state = state or TrainState(jnp.int32(0), {"w": jnp.float32(0)}, {"m": jnp.float32(0)})
        evaluators = (loop.Evaluator("validation", options.eval_every or total, validate),) if validation else ()
        stage = stage_of(tmp_path, Plan(total, late), options, evaluators)
        out = scripted(stage, step_fn(losses or [1.0] * total), state, progress, checkpoints, log.write)
        return out, seen, checkpoints.latest()


def steps(tmp_path):
    """Those that count; nothing else is left."""
    there = sorted((tmp_path / "c").iterdir()) if (tmp_path / "c").exists() else []
    assert {p.name for p in there} == {name for s in manifest.steps(tmp_path / "c") for name in (str(s), f"{s}.json")}
    return manifest.steps(tmp_path / "c")


@contextlib.contextmanager
def watched():
    """Each step that is sealed, and those that count right then."""
    seen = []

    def write(folder, seal, real=manifest.write):
        real(folder, seal)
        seen.append((seal.progress.step, manifest.steps(folder)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "write", write)
        yield seen


def lines(tmp_path, kind):
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    return [r for r in rows if r["kind"] == kind]


def test_late_batches_are_seen_as_idle_devices(tmp_path):
    """Batches that take 0.2 s, beside steps that take nothing."""
    run(tmp_path, late=0.2)
    idle = [line["idle"] for line in lines(tmp_path, "train")]
    assert len(idle) == 6
    assert all(0.8 < share <= 1 for share in idle[1:-1])  # the last one is read at once


def test_the_best_validation_is_kept(tmp_path):
    progress, seen, latest = run(tmp_path, validation=[0.7, 0.5, 0.6], eval_every=2)
    assert seen == [2, 4, 6]
    assert (progress.best_step, progress.best_loss, progress.without_best) == (4, 0.5, 1)
    assert progress.finished
    assert latest == 6
    assert steps(tmp_path) == [4, 6]


def test_a_run_that_died_in_its_last_validation_still_has_it_to_do(tmp_path):
    """The last step is saved first. What goes on from there validates it, and it may be the best."""
    with pytest.raises(IndexError):  # the script ends before its third validation
        run(tmp_path, validation=[0.7, 0.5], eval_every=2)
    with Checkpoints(tmp_path / "c") as checkpoints:
        left = checkpoints.read_manifest(6).progress
    assert (left.step, left.validated, left.best_step, left.finished) == (6, 4, 4, False)
    state = TrainState(jnp.int32(6), {"w": jnp.float32(6)}, {"m": jnp.float32(0)})
    progress, seen, latest = run(tmp_path, validation=[0.1], eval_every=2, state=state, progress=left)
    assert seen == [6]
    assert (progress.validated, progress.best_step, progress.finished, latest) == (6, 6, True, 6)
    assert [line["step"] for line in lines(tmp_path, "validation")] == [2, 4, 6]


def test_early_stop(tmp_path):
    progress, seen, latest = run(tmp_path, total=10, validation=[0.5, 0.6, 0.7, 0.1], eval_every=2, patience=2)
    assert seen == [2, 4, 6]
    assert (progress.step, progress.finished, progress.best_step, latest) == (6, True, 2, 6)
    assert len(lines(tmp_path, "train")) == 6


def test_validation_is_once_per_epoch_and_at_the_end(tmp_path):
    every = loop.validation_every(TrainConfig(epochs=3), 7)
    _, seen, _ = run(tmp_path, total=7, validation=[0.5] * 3, eval_every=every)
    assert seen == [3, 6, 7]


def test_without_validation_the_last_is_kept(tmp_path):
    progress, _, latest = run(tmp_path)
    assert (progress.best_step, progress.finished, latest) == (None, True, 6)


def test_checkpoints_to_keep(tmp_path):
    run(tmp_path, validation=[0.5, 0.4, 0.6], eval_every=2, checkpoint_every=3)
    assert steps(tmp_path) == [3, 4, 6]  # the best, the last, and multiples of three


def test_temporary_checkpoints_give_way_to_the_next(tmp_path, monkeypatch):
    """By the clock at every step, and each only until the next is whole."""
    monkeypatch.setattr(Checkpoints, "saving", lambda _: False)
    with watched() as seen:
        run(tmp_path, checkpoint_minutes=1e-9)
    assert seen == [(1, [1]), *[(n, [n - 1, n]) for n in range(2, 7)]]
    assert steps(tmp_path) == [6]


def test_temporary_checkpoints_come_by_the_clock(tmp_path, monkeypatch):
    """A minute a step, and three between checkpoints."""
    minutes = iter(range(100))
    now = [0.0]

    def tick(*arguments, real=loop.split_micro_batches):
        now[0] = 60.0 * next(minutes)
        return real(*arguments)

    monkeypatch.setattr(loop, "split_micro_batches", tick)
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(Checkpoints, "saving", lambda _: False)
    with watched() as seen:
        run(tmp_path, total=8, checkpoint_minutes=3)
    assert [step for step, _ in seen] == [4, 7, 8]


def test_every_step_is_logged_with_its_rate(tmp_path):
    run(tmp_path, losses=[6, 5, 4, 3, 2, 1])
    rows = lines(tmp_path, "train")
    assert [r["step"] for r in rows] == [1, 2, 3, 4, 5, 6]
    assert [r["loss"] for r in rows] == [6, 5, 4, 3, 2, 1]
    np.testing.assert_allclose([r["lr"] for r in rows], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_stops_the_run_and_names_step_and_rows(tmp_path, bad):
    with pytest.raises(UserError, match=rf"step 3: loss={bad}.*row-2"):
        run(tmp_path, losses=[1, 1, bad, 1, 1, 1], checkpoint_every=2)
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest() == 2  # the checkpoint before it is untouched


def test_a_bad_last_step_is_not_saved(tmp_path):
    with pytest.raises(UserError, match="step 6"):
        run(tmp_path, losses=[1] * 5 + [float("nan")])
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest() is None


def test_resume_drops_lines_that_will_come_again(tmp_path):
    run(tmp_path, losses=[6, 5, 4, 3, 2, 1])
    (tmp_path / "metrics.jsonl").open("a").write('{"step": 7, "ki')  # a crash in the middle of a line
    state = TrainState(jnp.int32(4), {"w": jnp.float32(4)}, {"m": jnp.float32(0)})
    shutil.rmtree(tmp_path / "c")
    run(tmp_path, losses=[6, 5, 4, 3, 2, 1], state=state, progress=Progress(step=4))
    assert [r["step"] for r in lines(tmp_path, "train")] == [1, 2, 3, 4, 5, 6]


def test_metrics_are_read_one_step_late(tmp_path):
    """Step n + 1 is dispatched before step n's numbers are asked for."""
    events = []

    def step(state, frozen, batch):
        n = int(batch.asks.items_BQ.ravel()[0])
        events.append(f"dispatch {n + 1}")
        return state, {"loss": (jnp.float32(1.0), jnp.float32(1.0))}

    class Log(RunLog):
        def write(self, step, kind, values):
            events.append(f"read {step}")

    state = TrainState(jnp.int32(0), {"w": jnp.float32(0)}, {"m": jnp.float32(0)})
    with Checkpoints(tmp_path / "c", {}) as checkpoints, Log(tmp_path, 0, 0) as log:
        scripted(stage_of(tmp_path, Plan(3), TrainConfig()), step, state, Progress(), checkpoints, log.write)
    assert events == ["dispatch 1", "dispatch 2", "read 1", "dispatch 3", "read 2", "read 3"]
