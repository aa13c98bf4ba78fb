"""Tests `moral-jax study` on fake runs: failures stay separate, a second call runs the rest, shards give one page."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moral_jax.cli import main
from tests.study.conftest import QUICK

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("fake")


@pytest.fixture
def study_file(config_file, tmp_path):
    path = tmp_path / "small.py"
    path.write_text(
        f"""
from moral_jax.study.spec import CE, DIRICHLET, Study, learning_curve, tuned, zero_shot

BASE = ({config_file!r}, *{QUICK!r})

def get_study():
    return Study("A study of nothing", (
        zero_shot("Fake 1B", "dilemmas", *BASE),
        *tuned("Fake 1B", "dilemmas", CE, *BASE, seeds=(0, 1)),
        *tuned("Other 2B", "dilemmas", DIRICHLET, *BASE, "--config.optim.lr=0.1", seeds=(2,)),
    ), resamples=1000)
"""
    )
    return path


def call(file, folder, *arguments):
    return main.main(["study", f"--config={file}", f"--workdir={folder}", *arguments])


def without_times(folder):
    study = json.loads((folder / "study.json").read_text())
    for cell in study["cells"]:
        cell.pop("seconds")
    return study


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Returns a file; the cells that it names fail."""
    path = tmp_path / "broken"
    monkeypatch.setenv("FAKE_BROKEN", str(path))
    return path


def test_a_broken_cell_is_retried_a_done_one_skipped_and_shards_are_the_whole(study_file, tmp_path, broken, capsys):
    out, bad = tmp_path / "out", "fake-1b.dilemmas.ce-tuned.seed-1"
    broken.write_text(bad)
    assert call(study_file, out) == 1
    said = capsys.readouterr().out
    assert "3 done, 1 failed" in said
    assert f"failed: {bad}, exit code 2" in said
    assert "error: the machine is on fire" in said
    page = (out / "study.md").read_text()
    assert "3 of 4 cells are done." in page
    assert "the machine is on fire" in page
    assert "(1 of 2 seeds)" in page

    first_records = {p: p.stat().st_mtime_ns for p in out.glob("cells/*/*/test.jsonl")}
    assert len(first_records) == 3
    broken.unlink()
    assert call(study_file, out, "--list") == 0
    [line] = [x for x in capsys.readouterr().out.splitlines() if bad in x]
    assert line.startswith("failed")
    assert call(study_file, out) == 0
    assert "4 done" in capsys.readouterr().out
    assert all(p.stat().st_mtime_ns == t for p, t in first_records.items())  # nothing was done twice
    log = (out / "logs" / f"{bad}.txt").read_text()
    assert log.count("$ python train.py --config=") == 2
    assert "4 of 4 cells are done." in (out / "study.md").read_text()

    parts = tmp_path / "parts"
    assert call(study_file, parts, "--shard=1/2") == 0
    assert len(list((parts / "cells").iterdir())) == 2
    assert call(study_file, parts, "--shard=2/2") == 0
    assert without_times(parts) == without_times(out)

    before = (out / "study.html").read_text()
    (out / "study.html").unlink()
    assert call(study_file, out, "--page-only") == 0
    assert (out / "study.html").read_text() == before
    assert all(p.stat().st_mtime_ns == t for p, t in first_records.items())


def test_nothing_runs_where_only_plans_are_asked_for(study_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert call(study_file, out, "--dry-run", "--cells=*ce-tuned*") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("python train.py --config=")
    assert lines[0].endswith(f"--workdir={out}/cells/fake-1b.dilemmas.ce-tuned.seed-0")
    assert call(study_file, out, "--list") == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [["to", "do"]] * 4
    assert not out.exists()
    assert call(study_file, out, "--page-only") == 0  # a page of what is missing
    assert "0 of 4 cells are done." in (out / "study.md").read_text()


def test_mistakes_are_one_message(study_file, config_file, tmp_path, capsys):
    for arguments, message in (
        ([study_file, tmp_path / "o", "--cells=nothing*"], "no cell is left"),
        ([study_file, tmp_path / "o", "--shard=5/4"], "expected I/N"),
        ([study_file, tmp_path / "o", "--config.optim.lrr=1"], "did you mean --config.optim.lr?"),
        ([config_file, tmp_path / "o"], "defines no get_study()"),
    ):
        assert call(*arguments) == 2
        assert message in capsys.readouterr().err


def test_cells_of_one_task_must_have_been_scored_on_the_same_rows(study_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert call(study_file, out) == 0
    file = next((out / "cells").glob("other*/trained/test.jsonl"))
    first, *others = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*others, first]))
    assert call(study_file, out, "--page-only") == 2
    assert "were scored on different rows: row 1 is" in capsys.readouterr().err


SLOW = """
import sys
from moral_jax.cli import main as cli
from moral_jax.study import jobs
jobs.KINDS["train"] = jobs.Kind(("sleep",), "tests.study.test_command:sleep", ())
sys.exit(cli.main(sys.argv[1:]))
"""


def sleep(arguments):
    Path(os.environ["SLEEPER"]).write_text(str(os.getpid()))
    time.sleep(60)


@pytest.fixture
def worker(study_file, tmp_path):
    """Starts a study whose first cell sleeps; yields the process of the study and the process id of the cell."""
    sleeper = tmp_path / "pid"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "study", f"--config={study_file}", f"--workdir={tmp_path / 'out'}"],
        cwd=ROOT, env=os.environ | {"SLEEPER": str(sleeper)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 30
    while not (sleeper.exists() and sleeper.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    yield process, int(sleeper.read_text())
    process.kill()
    process.wait()


def test_a_stopped_study_stops_the_run_too(worker):
    """Sends SIGTERM, as a scheduler does."""
    process, run = worker
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(run, 0)


def test_a_run_whose_worker_died_still_holds_its_cell(worker, study_file, tmp_path, capsys):
    """A second run in the same directory would spoil the first."""
    process, run = worker

    def first_line():
        assert call(study_file, tmp_path / "out", "--list") == 0
        return capsys.readouterr().out.splitlines()[0]

    process.kill()
    process.wait()
    assert first_line().startswith("running")
    os.kill(run, signal.SIGKILL)
    end = time.monotonic() + 10
    while first_line().startswith("running") and time.monotonic() < end:
        time.sleep(0.02)
    assert first_line().startswith("to do")
