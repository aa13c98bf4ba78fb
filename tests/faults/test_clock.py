"""Tests runs while the wall clock jumps forward and back."""

import itertools
import time

import pytest

from moral_jax.train.checkpoint import Checkpoints
from tests.train.test_loop import run, steps, watched


@pytest.mark.fault(
    "the wall clock jumps by years, forward and back",
    promise="temporary checkpoints come as often as they should, neither none nor all the time, and none of them fails",
)
def test_clock_jumps(tmp_path, monkeypatch):
    clocks = itertools.cycle([1.0e9, 1.9e9, 1.2e9, 1.25e9, 1.1e9])
    monkeypatch.setattr(time, "time", lambda: next(clocks))
    monkeypatch.setattr(Checkpoints, "saving", lambda _: False)
    for folder in ("always", "never"):
        (tmp_path / folder).mkdir()
    with watched() as seen:
        run(tmp_path / "always", checkpoint_minutes=1e-9)
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5, 6]
    with watched() as seen:
        run(tmp_path / "never", checkpoint_minutes=10)
    assert [step for step, _ in seen] == [6]
    assert steps(tmp_path / "never") == [6]
