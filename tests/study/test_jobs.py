"""Tests cells on disk: checked before anything runs, claimed by one worker, divided among many."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from moral_jax.config import saved
from moral_jax.study import jobs
from moral_jax.study.spec import CE, Cell, Study, baseline, tuned
from moral_jax.types import UserError
from tests.report.test_page import numbers, record

ROOT = Path(__file__).resolve().parents[2]


def done(job):
    """Writes the files of a finished run that the study reads."""
    job.stage.mkdir(parents=True)
    saved.save(job.config, job.run / "config.json")
    (job.stage / "test.jsonl").write_text("".join(json.dumps(record(i, 0.4)) + "\n" for i in range(2)))
    (job.stage / "metrics.json").write_text(json.dumps(numbers(0.6) | {"rows": 2}))


@pytest.fixture
def some(study, tmp_path):
    return jobs.prepare(study, tmp_path / "s", [])


def test_states(some):
    first, second, *_ = some
    assert [jobs.state(j) for j in some] == [jobs.TO_DO] * 7
    done(first)
    done(second)
    assert (first.stage.name, second.stage.name) == ("initial", "trained")  # zero-shot, and trained
    assert [jobs.state(first), jobs.state(second)] == [jobs.DONE, jobs.DONE]
    records = (first.stage / "test.jsonl").read_text()
    (first.stage / "test.jsonl").write_text(records[:-9])
    assert jobs.state(first) == jobs.DAMAGED
    (first.stage / "metrics.json").unlink()  # stopped before there were numbers
    assert jobs.state(first) == jobs.TO_DO
    (second.stage / "metrics.json").write_text('{"split": "te')
    assert jobs.state(second) == jobs.DAMAGED
    with jobs.claim(second) as lock:
        assert lock is not None
        assert jobs.state(second) == jobs.RUNNING
    second.notes.write_text(json.dumps({"state": jobs.FAILED}))
    assert jobs.state(second) == jobs.FAILED


def test_another_config_in_a_cells_directory_is_an_error_with_the_difference(study, some, tmp_path):
    done(some[1])
    with pytest.raises(UserError, match=r"(?s)cell fake-1b.dilemmas.ce-tuned.seed-0.*optim.lr: 0.8 -> 0.1"):
        jobs.prepare(study, tmp_path / "s", ["--config.optim.lr=0.1"])
    assert jobs.prepare(study, tmp_path / "s", ["--config.mesh.fsdp=1"])  # other machines may go on with it


def test_other_arguments_are_another_run_too(config_file, tmp_path):
    def of(price):
        cell = Cell("Model", "t", "", config_file, kind="eval", arguments=(price,))
        return jobs.prepare(Study("s", (cell,)), tmp_path / "s", [])[0]

    job = of("--max-cost=1")
    done(job)
    job.notes.parent.mkdir()
    job.notes.write_text(json.dumps({"arguments": ["--max-cost=1"]}))
    assert jobs.state(of("--max-cost=1")) == jobs.DONE
    with pytest.raises(UserError, match="arguments: .*max-cost=1.* -> .*max-cost=2"):
        of("--max-cost=2")


def test_another_respondent_in_a_cells_directory_is_an_error(config_file, tmp_path):
    def of(name):
        return jobs.prepare(Study("s", (baseline(name, "t", config_file, row="Rule"),)), tmp_path / "s", [])[0]

    done(of("fewest_words"))
    assert jobs.state(of("fewest_words")) == jobs.DONE
    with pytest.raises(UserError, match="respondent.name: 'fewest_words' -> 'most_words'"):
        of("most_words")


def test_every_cell_is_checked_before_any_runs(config_file, tmp_path):
    bad = tuned("m", "t", CE, config_file, "--config.optim.lr=fast", seeds=(0,))
    with pytest.raises(UserError, match=r"cell m.t.ce-tuned.seed-0: --config.optim.lr=fast: expected float"):
        jobs.prepare(Study("s", tuple(bad)), tmp_path, [])
    with pytest.raises(UserError, match="kind 'tarin': expected one of train, eval"):
        jobs.prepare(Study("s", (Cell("m", "t", "", config_file, kind="tarin"),)), tmp_path, [])


def test_flags_of_the_whole_study_win(study, tmp_path):
    assert {j.config.optim.lr for j in jobs.prepare(study, tmp_path, ["--config.optim.lr=0.2"])} == {0.2}


def test_shards_are_all_cells_each_once(some):
    for n in (1, 2, 3, 10):
        parts = [jobs.shard(some, i, n) for i in range(1, n + 1)]
        assert sorted(j.cell.name for part in parts for j in part) == sorted(j.cell.name for j in some)
    assert jobs.parse_shard("2/3") == (2, 3)
    for bad in ("0/2", "3/2", "1", "a/b", "1/2/3"):
        with pytest.raises(UserError, match=f"--shard={bad}: expected I/N"):
            jobs.parse_shard(bad)


HOLDER = """
import sys, time
from pathlib import Path
from moral_jax.study import jobs
class Job: lock = Path(sys.argv[1])
with jobs.claim(Job) as lock:
    print(lock is not None, flush=True)
    time.sleep(60)
"""


def test_two_workers_never_take_the_same_cell_and_a_dead_one_holds_none(some):
    some[0].lock.parent.mkdir(parents=True)
    worker = subprocess.Popen([sys.executable, "-c", HOLDER, some[0].lock], stdout=subprocess.PIPE, cwd=ROOT)
    assert worker.stdout.readline().strip() == b"True"
    with jobs.claim(some[0]) as lock:
        assert lock is None
    assert f"process {worker.pid}" in jobs.owner(some[0])
    with jobs.claim(some[1]) as lock:
        assert lock is not None
    worker.kill()
    worker.wait()
    with jobs.claim(some[0]) as lock:
        assert lock is not None
