"""Tests SIGTERM and SIGKILL at any moment: the resumed run is equal bit for bit."""

import signal

import pytest

from moral_jax.cli import main
from moral_jax.runtime import supervisor
from moral_jax.train import manifest
from tests.faults.conftest import EVAL_EVERY, STEPS, assert_same_run, finished, kill_at, trace


def latest(folder):
    return max(manifest.steps(folder / "checkpoints"), default=0)


@pytest.mark.fault(
    "SIGTERM while scoring, in a step, in a validation, in a save",
    promise="what runs is finished, the step saved, exit code 0 (or MORAL_JAX_PREEMPTED_EXIT); resumed bit for bit",
)
def test_sigterm(runs, whole, tmp_path):
    folder = tmp_path / "r"
    code, out, err = runs.run(folder, {"at": "score", "count": 2, "do": "term"})
    assert (code, latest(folder)) == (0, 0), err
    assert "preempted while scoring test initial; the same command" in out
    assert (folder / "initial" / "validation.jsonl").exists()
    code, out, err = runs.run(folder, {"at": "step", "count": 7, "do": "term"})
    assert (code, latest(folder)) == (0, 7), err
    assert f"preempted: step 7 of {STEPS} is saved; the same command goes on from there" in out
    code, out, err = runs.run(folder, {"at": "score", "count": 1, "do": "term"}, MORAL_JAX_PREEMPTED_EXIT="75")
    assert (code, latest(folder)) == (75, EVAL_EVERY), err
    progress = manifest.read(folder / "checkpoints", EVAL_EVERY).progress
    assert (progress.step, progress.validated) == (EVAL_EVERY, 0)
    assert all(row["kind"] == "train" for row in trace(folder))
    code, out, err = runs.run(folder, {"at": "save", "count": 2, "do": "term"})
    assert code == 0, err
    validated = [row["step"] for row in trace(folder) if row["kind"] == "validation"]
    assert validated[0] == EVAL_EVERY, "the validation that was due and not done is done first"
    assert EVAL_EVERY < latest(folder) < STEPS
    finished(runs, folder)
    assert_same_run(folder, whole)


# where a life ends: at the n-th call of a function since it began, or a moment later
KILLS = [
    {"at": "start", "count": 1},
    {"at": "score", "count": 1, "after": 0.3},  # while it compiles, or has just begun
    {"at": "score", "count": 2},  # one split is scored, and the other is not
    {"at": "step", "count": 3},
    {"at": "save", "count": 1, "after": 0.01},  # while Orbax writes
    {"at": "read back", "count": 5},  # some arrays are verified
    {"at": "seal", "count": 1},  # all are, and the step does not count yet
    {"at": "remove", "count": 1},  # it counts, and the one before is still there
    {"at": "score", "count": 1},  # the first validation
    {"at": "step", "count": 4, "after": 0.005},
]


@pytest.mark.fault(
    "SIGKILL at 10 moments: start, scoring, a step, a validation, and a save that is written, verified, sealed, tidied",
    promise="the next start goes on from the last sealed step; in the end bit for bit what an unbroken run gives",
)
def test_sigkill(runs, whole, tmp_path):
    folder, reached = tmp_path / "r", 0
    for _ in kill_at(runs, folder, KILLS):
        assert latest(folder) >= reached, "a step that counted is still there"
        reached = latest(folder)
    assert 0 < reached < STEPS
    finished(runs, folder)
    assert_same_run(folder, whole)


@pytest.mark.fault(
    "a second process in the same run directory",
    promise="refused, naming host and process of the first; free again when that one is dead",
)
def test_second_process(runs, tmp_path, capsys):
    folder, file = tmp_path / "r", tmp_path / "stall"
    first = runs.start(folder, {"at": "score", "count": 1, "do": "stall", "file": str(file)})
    first.wait_until(file.with_suffix(".here").exists)
    arguments = [f"--config={runs.config}", f"--workdir={folder}", "--config.train.steps=0"]
    assert main.train_main(arguments) == supervisor.FAILED
    assert "another config" in capsys.readouterr().err
    assert main.train_main(arguments[:2]) == supervisor.FAILED
    said = capsys.readouterr().err
    assert f"process {first.pid} works here already" in said
    first.kill()
    assert first.finish()[0] == -signal.SIGKILL
    code, out, err = runs.run(folder, {"at": "score", "count": 1, "do": "term"})
    assert code == 0, err
    assert "resuming" in out
