"""Tests SIGTERM and SIGKILL in a run of reinforcement learning: the resumed run is equal bit for bit."""

import json

import pytest

from moral_jax.train import manifest
from tests.faults.conftest import Runs, assert_same_run, finished, kill_at, trace

CONFIG = """
from moral_jax import config

def get_config():
    c = config.default()
    c.model.path, c.model.unroll = {model!r}, 1
    c.task.name, c.task.path, c.task.validation, c.task.test = "prompts", {prompts!r}, 0.2, 0.2
    c.data.length, c.data.micro_batch_size, c.eval.batch_size = 64, 2, 4
    c.objective.name, c.objective.kl_weight = "grpo", 0.01
    c.rollout.reward, c.rollout.prompts, c.rollout.steps, c.rollout.passes = "contains:e", 4, 2, 2
    c.rollout.sample.n, c.rollout.sample.max_tokens = 3, 24
    c.optim.lr = 1e-3
    c.train.epochs, c.train.steps, c.train.eval_every, c.train.checkpoint_minutes = 20, 12, 6, 1e-6
    c.eval.bootstrap = 100
    return c
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rollouts")
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Why {n}?"}) + "\n" for n in range(16)))
    return Runs(folder, CONFIG, prompts=str(prompts))


@pytest.fixture(scope="module")
def whole(runs):
    return finished(runs, runs.folder / "whole")


def assert_same_rollouts(got, want):
    assert_same_run(got, want)
    numbers = [path.relative_to(want) for path in want.glob("rollouts/*.npz")]
    assert len(numbers) == 3
    for path in numbers:
        assert (got / path).read_bytes() == (want / path).read_bytes(), path


# where a life ends: at the n-th call of a function since it began, or a moment later
KILLS = [
    {"at": "tokens", "count": 3},  # while replies to validation prompts are written, before training
    {"at": "step", "count": 1},  # the first rollout is sealed, and nothing is saved
    {"at": "rollout", "count": 1},  # another is written, and not sealed
    {"at": "read tokens", "count": 1, "after": 0.01},  # it is scored
    {"at": "step", "count": 2, "after": 0.005},  # inside a rollout
    {"at": "save", "count": 1, "after": 0.01},
]


@pytest.mark.fault(
    "SIGKILL at 6 moments of reinforcement learning: replies are written, scored, sealed, learned from, saved",
    promise="sealed rollouts are read, others written again by the same weights; in the end bit for bit the same",
)
def test_sigkill_in_a_rollout(runs, whole, tmp_path):
    folder = tmp_path / "r"
    for _ in kill_at(runs, folder, KILLS):
        pass
    finished(runs, folder)
    assert_same_rollouts(folder, whole)


@pytest.mark.fault(
    "SIGTERM while replies are written, and in a step inside a rollout",
    promise="the last step is saved, exit code 0; resumed bit for bit",
)
def test_sigterm_in_a_rollout(runs, whole, tmp_path):
    folder = tmp_path / "r"
    code, out, err = runs.run(folder, {"at": "step", "count": 6, "do": "term"})
    assert (code, manifest.steps(folder / "checkpoints")[-1]) == (0, 6), err
    assert "preempted: step 6 of 12 is saved" in out
    code, out, err = runs.run(folder, {"at": "rollout", "count": 1, "do": "term"})
    assert code == 0, err
    code, out, err = runs.run(folder, {"at": "tokens", "count": 2, "do": "term"})
    assert code == 0, err
    assert "preempted" in out
    finished(runs, folder)
    assert_same_rollouts(folder, whole)
    assert [row["step"] for row in trace(folder) if row["kind"] == "rollout"] == [1, 5, 9]
