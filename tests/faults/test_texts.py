"""Tests SIGTERM and SIGKILL in a run on preferences: references and steps are equal bit for bit in the end."""

import json

import pytest

from moral_jax.train import manifest
from tests.faults.conftest import Runs, assert_same_run, finished, kill_at

CONFIG = """
from moral_jax import config

def get_config():
    c = config.default()
    c.model.path, c.model.unroll = {model!r}, 1
    c.task.name, c.task.path, c.task.validation, c.task.test = "preferences", {pairs!r}, 0.2, 0.2
    c.data.length, c.data.batch_size, c.data.micro_batch_size, c.eval.batch_size = 96, 2, 1, 2
    c.data.questions_per_row = 2
    c.objective.name, c.optim.lr = "dpo", 1e-3
    c.train.epochs, c.train.steps, c.train.eval_every, c.train.checkpoint_minutes = 4, 8, 4, 1e-6
    c.eval.bootstrap = 100
    return c
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preferences")
    pairs = folder / "pairs.jsonl"
    rows = [{"prompt": f"Why {n}?", "chosen": f"Yes, {n}.", "rejected": "No. " * (n % 3 + 1)} for n in range(24)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Runs(folder, CONFIG, pairs=str(pairs))


@pytest.fixture(scope="module")
def whole(runs):
    return finished(runs, runs.folder / "whole")


KILLS = [
    {"at": "score", "count": 2},  # the model as it comes is scored on one split
    {"at": "score", "count": 2, "after": 0.05},  # references of the training rows
    {"at": "step", "count": 2},
    {"at": "step", "count": 2, "after": 0.005},
    {"at": "save", "count": 2, "after": 0.01},
]


@pytest.mark.fault(
    "SIGKILL at 5 moments of a run on preferences, SIGTERM in a step: scoring, references, steps, a save",
    promise="references are computed again or read, steps go on from the last sealed one; bit for bit the same",
)
def test_preferences_are_killed(runs, whole, tmp_path):
    folder = tmp_path / "r"
    for _ in kill_at(runs, folder, KILLS):
        pass
    assert manifest.steps(folder / "checkpoints")
    code, out, err = runs.run(folder, {"at": "step", "count": 2, "do": "term"})
    assert code == 0, err
    assert "is saved; the same command goes on from there" in out
    finished(runs, folder)
    assert_same_run(folder, whole)
