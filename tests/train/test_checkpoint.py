"""Checkpoints: exact, the latest and the best kept, parameters alone on demand."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from moral_jax.config import AdapterConfig, OptimConfig
from moral_jax.models import api
from moral_jax.train import optim
from moral_jax.train.checkpoint import Checkpoints, Progress
from moral_jax.train.step import abstract_state, init_state
from moral_jax.types import UserError
from tests import tiny

POLICY = tiny.policy(tiny.spec(), concentration="predicted")
TX = optim.make(OptimConfig(), 10)
ADAPTER = dataclasses.asdict(AdapterConfig())


def state(seed):
    return init_state(tiny.params(POLICY, seed), POLICY, TX)


def like():
    return abstract_state(POLICY, TX)


def test_latest_and_best_are_kept(tmp_path):
    with Checkpoints(tmp_path / "c") as c:
        for step, loss in ((1, 0.7), (2, 0.5), (3, 0.6), (4, None), (5, 0.65)):
            best = 2 if step >= 2 else 1
            c.save(state(step), Progress(step=step, best_step=best, best_loss=0.5), loss, ADAPTER)
        c.wait()
        assert c.latest() == 5
        assert (c.chosen("best"), c.chosen("last")) == (2, 5)
    kept = {int(p.name) for p in (tmp_path / "c").iterdir() if p.name.isdigit()}
    assert kept == {2, 5}


def test_the_best_outlives_a_resume(tmp_path):
    for step, loss in ((1, 0.7), (2, 0.5), (3, None), (4, 0.6)):
        with Checkpoints(tmp_path / "c") as c:
            c.save(state(step), Progress(step=step, best_step=min(step, 2), best_loss=0.5), loss, ADAPTER)
            c.wait()
    assert {int(p.name) for p in (tmp_path / "c").iterdir() if p.name.isdigit()} == {2, 4}
    with Checkpoints(tmp_path / "c") as c:
        got = c.restore_params(c.chosen("best"), like().params)
    jax.tree.map(np.testing.assert_array_equal, got, state(2).params)


def test_everything_comes_back_exactly(tmp_path):
    saved = state(3)._replace(step=jax.numpy.int32(7))
    progress = Progress(step=7, best_step=4, best_loss=0.25, without_best=2, finished=True)
    with Checkpoints(tmp_path / "c") as c:
        c.save(saved, progress, 0.3, ADAPTER)
        c.wait()
    with Checkpoints(tmp_path / "c") as c:
        restored, restored_progress = c.restore(7, like())
        params = c.restore_params(7, api.abstract_params(POLICY))
    assert restored_progress == progress
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(saved), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    jax.tree.map(np.testing.assert_array_equal, params, saved.params)


def test_checkpoints_from_before_there_were_adapters(tmp_path):
    with Checkpoints(tmp_path / "c") as c:
        c.save(state(0), Progress(step=1), 0.3, ADAPTER)
        c.wait()
    shutil.rmtree(tmp_path / "c" / "1" / "adapter")
    with Checkpoints(tmp_path / "c") as c:
        assert c.adapter(1) == ADAPTER


def test_no_checkpoint_is_an_error_that_says_so(tmp_path):
    with Checkpoints(tmp_path / "c") as c, pytest.raises(UserError, match="holds no checkpoint"):
        c.chosen("best")
