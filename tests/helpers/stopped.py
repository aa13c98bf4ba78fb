"""A training run that is interrupted after a step."""

from pathlib import Path

import pytest

from moral_jax.config import Config
from moral_jax.train import loop
from moral_jax.workflows import train


def train_until(config: Config, folder: Path, step: int) -> None:
    """Trains, and interrupts the run before the numbers of any step after `step` are read."""
    real = loop.MetricReader.push

    def push(reader: loop.MetricReader, pending: loop.Pending) -> None:
        if pending.step > step:
            raise KeyboardInterrupt
        real(reader, pending)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.MetricReader, "push", push)
        with pytest.raises(KeyboardInterrupt):
            train.train(config, folder)
