"""Tests that stopped runs, and runs that change devices, give the numbers of an uninterrupted run."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest

from moral_jax import sharding
from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.model import MeshConfig
from moral_jax.config.train import DataConfig, OptimConfig, TrainConfig
from moral_jax.models import api
from moral_jax.runtime import distributed, preemption
from moral_jax.train import loop, manifest
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.types import Preempted
from moral_jax.workflows import build, local_model, train
from tests.faults.conftest import assert_same_run, trace
from tests.helpers import tiny


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Returns a config with packed rows, 2 micro-batches per step, 5 steps per epoch, validation every 3 steps."""
    return tiny.run_config(
        tiny.write_folder(tmp_path_factory.mktemp("model"), layers=1),
        data=DataConfig(length=160, questions_per_row=3, batch_size=4, micro_batch_size=2),
        train=TrainConfig(epochs=3, eval_every=3, checkpoint_every=4),
        eval=EvalConfig(initial=False, bootstrap=100, best_draws=10),
    )


@pytest.fixture
def devices(monkeypatch):
    """Returns a function that limits runs to the first `count` devices."""
    monkeypatch.setattr(build.sharding, "make_mesh", sharding.make_mesh)

    def use(count, real=sharding.make_mesh):
        monkeypatch.setattr(build.sharding, "make_mesh", lambda c: real(c, jax.devices()[:count]))

    return use


class Stop:
    """Notes a SIGTERM, as the handler does, at the n-th call of a function."""

    def __init__(self, patch):
        self.patch = patch

    def at(self, owner, name, count):
        real, calls = getattr(owner, name), itertools.count(1)

        def hooked(*args, **kwargs):
            if next(calls) == count:
                self.patch.setattr(preemption, "_noticed", True)
            return real(*args, **kwargs)

        self.patch.setattr(owner, name, hooked)


@pytest.mark.fault(
    "stopped before training, between micro-batches of a step, at an epoch's edge, in a save, at a validating step, "
    "between batches of a validation",
    promise="weights, moments, every line of the log and every record are those of the unbroken run, bit for bit",
)
def test_stopped_at_every_kind_of_moment(config, tmp_path, devices):
    devices(1)
    whole, folder = tmp_path / "whole", tmp_path / "r"
    train.train(config, whole)
    per_epoch = len(build.training_setup(config).batches) // config.train.epochs
    assert per_epoch % config.train.eval_every, "an epoch's edge is no validating step here"
    moments = [  # (function, n-th call since the last start), latest step after the stop
        ((loop, "train", 1), None),
        ((loop, "split_micro_batches", 1), 2),  # the step in which SIGTERM is noted is finished
        ((loop.MetricReader, "push", per_epoch - 2), per_epoch),
        ((Checkpoints, "save", 1), None),
        ((loop.Scheduler, "validate_if_due", 2), None),
        ((distributed.AnyProcess, "__call__", 5), None),
    ]
    for number, (moment, step) in enumerate(moments):
        with pytest.MonkeyPatch.context() as patch:
            Stop(patch).at(*moment)
            with pytest.raises(Preempted):
                train.train(config, folder)
        there = manifest.steps(folder / "checkpoints")
        assert step is None or there[-1] == step, (number, there)
    train.train(config, folder)
    assert_same_run(folder, whole)


@pytest.mark.fault(
    "killed between a step and the end of its validation, that step being saved",
    promise="the validation that was due is done at the next start, and the line of the log is there once",
)
def test_validation_that_was_due(config, tmp_path, devices, monkeypatch):
    devices(1)
    config = dataclasses.replace(config, train=TrainConfig(epochs=3, steps=4, eval_every=3, checkpoint_minutes=1e-9))
    train.train(config, tmp_path / "whole")
    real = loop._with_validation

    def killed(*_):
        raise KeyboardInterrupt  # after the line of the log, before the manifest is rewritten

    monkeypatch.setattr(Checkpoints, "saving", lambda _: False)
    monkeypatch.setattr(loop, "_with_validation", killed)
    with pytest.raises(KeyboardInterrupt):
        train.train(config, tmp_path / "r")
    progress = manifest.read(tmp_path / "r" / "checkpoints", 3).progress
    assert (progress.step, progress.validated, trace(tmp_path / "r")[-1]["kind"]) == (3, 0, "validation")
    monkeypatch.setattr(loop, "_with_validation", real)
    train.train(config, tmp_path / "r")
    assert_same_run(tmp_path / "r", tmp_path / "whole")


def numbers(folder):
    return [[v for v in row.values() if isinstance(v, float)] for row in trace(folder)]


@pytest.mark.fault(
    "resumed on 4, then on 1 of 8 devices",
    promise="the numbers of one device all the way, to 1e-6",
)
def test_other_devices(config, tmp_path, devices):
    # Adam would divide float32 noise by its own size; on some processors noise reaches 1e-5 of a gradient
    optim = OptimConfig(lr=1e-4, eps=1e-3)
    config = dataclasses.replace(
        config,
        optim=optim,
        data=dataclasses.replace(config.data, batch_size=8, micro_batch_size=8),
        eval=dataclasses.replace(config.eval, batch_size=8, test=False),
        train=TrainConfig(epochs=6, steps=6, eval_every=2),
        mesh=MeshConfig(),
    )
    devices(1)
    train.train(config, tmp_path / "whole")
    for count, stop in ((8, 2), (4, 2), (1, None)):
        devices(count)
        with pytest.MonkeyPatch.context() as patch:
            if stop:
                Stop(patch).at(loop.MetricReader, "push", stop)
            try:
                train.train(config, tmp_path / "r")
            except Preempted:
                assert stop
    for got, want in zip(numbers(tmp_path / "r"), numbers(tmp_path / "whole"), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    model = local_model.find_model(config).model
    like = api.abstract_params(model)
    got, want = ({}, {})
    for folder, out in ((tmp_path / "r", got), (tmp_path / "whole", want)):
        with Checkpoints(folder / "checkpoints") as c:
            out |= c.restore_params(6, like)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, want)
    assert json.loads((tmp_path / "r" / "provenance.json").read_text())["device"]
