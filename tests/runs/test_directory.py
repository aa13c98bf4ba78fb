"""A run directory: whose it is, what it may go on with, and where its stages lie, in old runs too."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from moral_jax.config import Config, model, saved, train
from moral_jax.runs import directory
from moral_jax.runs.directory import ANSWERS, INITIAL, TRAINED, RunDirectory
from moral_jax.types import UserError

MINE = Config()
OTHER = dataclasses.replace(MINE, optim=train.OptimConfig(lr=0.5), train=train.TrainConfig(epochs=7))
STAGES = [INITIAL, TRAINED]

HOLDS = """
import sys, time
from pathlib import Path
from moral_jax.runtime import files
with files.lock(Path(sys.argv[1])):
    print("taken", flush=True)
    time.sleep(600)
"""


def claim(folder, config=MINE, stages=STAGES):
    with directory.claim(config, folder, stages) as run:
        return run


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def stages_said(folder):
    return json.loads((folder / "run.json").read_text())["stages"]


def test_a_new_run_says_its_config_and_its_stages(tmp_path):
    folder = tmp_path / "runs" / "new"
    assert claim(folder) == RunDirectory(folder)
    assert set(contents(folder)) == {"config.json", "run.json", "lock"}
    assert saved.read(folder / "config.json") == MINE
    assert stages_said(folder) == ["initial", "trained"]


def test_the_same_run_is_resumed_with_what_it_has(tmp_path, capsys):
    claim(tmp_path)
    (tmp_path / "initial").mkdir()
    (tmp_path / "initial" / "test.jsonl").write_text("rows")
    before = contents(tmp_path)
    assert "resuming" not in capsys.readouterr().out
    claim(tmp_path)
    assert f"resuming {tmp_path}" in capsys.readouterr().out
    assert contents(tmp_path) == before


def test_a_run_of_another_config_is_refused_with_all_that_differs(tmp_path):
    claim(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UserError) as refusal:
        claim(tmp_path, OTHER, [ANSWERS])
    assert str(refusal.value) == (
        f"{tmp_path} holds a run of another config. Pass --workdir=ANOTHER, or undo:\n"
        "  optim.lr: 3e-05 -> 0.5\n  train.epochs: 2 -> 7"
    )
    assert contents(tmp_path) == before


def test_a_resumed_run_may_have_other_devices_and_keeps_its_first_config(tmp_path):
    claim(tmp_path)
    claim(tmp_path, dataclasses.replace(MINE, mesh=model.MeshConfig(tensor=2)))
    assert saved.read(tmp_path / "config.json") == MINE


def refuse(folder, stage):
    with directory.claim(MINE, folder, STAGES) as run:
        if stage:
            run.stage(stage).mkdir()
        raise UserError("no rows")


def refused(folder, stage=None):
    with pytest.raises(UserError, match="no rows"):
        refuse(folder, stage)


def test_a_run_that_was_refused_leaves_room_for_another_config(tmp_path):
    refused(tmp_path)
    assert claim(tmp_path, OTHER) == RunDirectory(tmp_path)


def test_but_not_if_it_has_done_something_or_goes_on(tmp_path):
    (tmp_path / "a").mkdir()
    claim(tmp_path / "a")
    refused(tmp_path / "a")
    with pytest.raises(UserError, match="holds a run of another config"):
        claim(tmp_path / "a", OTHER)
    refused(tmp_path / "b", "initial")
    with pytest.raises(UserError, match="holds a run of another config"):
        claim(tmp_path / "b", OTHER)


def test_files_of_somebody_else_are_refused_and_untouched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and holds no run \(no config.json\); pass --workdir=ANOTHER"):
        claim(tmp_path)
    with pytest.raises(UserError, match="notes.txt is not empty and holds no run"):
        claim(tmp_path / "notes.txt")
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_a_run_that_was_killed_before_it_had_a_config_begins_anew(tmp_path):
    (tmp_path / "lock").write_text("somebody, process 1")
    (tmp_path / "config.json.partial").write_text('{"optim"')
    claim(tmp_path)
    assert saved.read(tmp_path / "config.json") == MINE
    assert (tmp_path / "lock").read_text().endswith(f"process {os.getpid()}")


@pytest.mark.fault("what a kill leaves of files that were being written", promise="gone after the next start")
def test_half_written_files_go_with_the_next_start(tmp_path):
    claim(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for name in ("provenance.json", "report.html", "checkpoints/149.json"):
        (tmp_path / f"{name}.partial").write_text("{")
    claim(tmp_path)
    assert contents(tmp_path) == before


def test_a_directory_in_which_another_process_works_is_refused_by_name(tmp_path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "taken\n"
            with pytest.raises(UserError, match=f"process {other.pid} works here already; wait until it has ended"):
                claim(tmp_path)
            assert set(contents(tmp_path)) == {"lock"}
        finally:
            other.kill()
    claim(tmp_path)


def test_a_directory_is_kept_for_as_long_as_it_is_claimed(tmp_path):
    with directory.claim(MINE, tmp_path, STAGES), pytest.raises(UserError, match="works here already"):
        claim(tmp_path)
    claim(tmp_path)


def test_a_broken_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json: not valid JSON"):
        claim(tmp_path)
    assert contents(tmp_path) == {"config.json": b"{"}


def old_run(folder, *stages):
    """A run as version 0.1 left it: no run.json, and older names of its stages."""
    saved.save(MINE, folder / "config.json")
    for stage in stages:
        (folder / stage).mkdir()
        (folder / stage / "test.jsonl").write_text(stage)


@pytest.mark.parametrize(
    ("had", "stages", "want"),
    [
        (["before", "after"], STAGES, {"initial/test.jsonl": b"before", "trained/test.jsonl": b"after"}),
        (["before"], STAGES, {"initial/test.jsonl": b"before"}),
        (["after"], [TRAINED], {"trained/test.jsonl": b"after"}),
        (["after"], [ANSWERS], {"answers/test.jsonl": b"after"}),
    ],
)
def test_stages_of_version_0_1_are_renamed_on_resume(tmp_path, had, stages, want):
    old_run(tmp_path, *had)
    claim(tmp_path, stages=stages)
    assert {name: text for name, text in contents(tmp_path).items() if name.endswith("test.jsonl")} == want
    assert stages_said(tmp_path) == stages
    assert not [name for name in ("before", "after") if (tmp_path / name).exists()]


def test_a_stage_that_is_there_is_not_overwritten_by_an_old_one(tmp_path):
    old_run(tmp_path, "before", "initial")
    claim(tmp_path)
    assert (tmp_path / "initial" / "test.jsonl").read_text() == "initial"
    assert (tmp_path / "before" / "test.jsonl").read_text() == "before"


def test_stages_are_those_that_run_json_names_in_its_order(tmp_path):
    claim(tmp_path)
    assert list(directory.stages(tmp_path).items()) == [
        ("initial", tmp_path / "initial"),
        ("trained", tmp_path / "trained"),
    ]
    (tmp_path / "before").mkdir()
    assert list(directory.stages(tmp_path)) == ["initial", "trained"]


def test_stages_of_version_0_1_are_found_where_they_lie(tmp_path):
    assert directory.stages(tmp_path) == {"answers": tmp_path}  # metrics.json at the root: eval --out
    (tmp_path / "after").mkdir()
    assert directory.stages(tmp_path) == {"answers": tmp_path / "after"}  # a baseline or an API
    (tmp_path / "before").mkdir()
    assert list(directory.stages(tmp_path).items()) == [
        ("initial", tmp_path / "before"),
        ("trained", tmp_path / "after"),
    ]
    (tmp_path / "after").rmdir()
    assert directory.stages(tmp_path) == {"initial": tmp_path / "before"}  # train.steps=0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"stages": ["before"]}', r"run.json: stages=\['before'\]: expected a list of initial, trained or answers"),
        ('{"stages": ["initial", "../elsewhere"]}', "expected a list of initial, trained or answers"),
        ('{"stages": "initial"}', "stages='initial': expected a list"),
        ('{"stages": {"initial": 1}}', "expected a list"),
        ('{"stages": [null]}', r"stages=\[None\]: expected a list"),
        ("{}", "stages=None: expected a list"),
        ('["initial"]', "run.json: found list, expected a JSON object"),
        ('{"stages": ["ini', "run.json: not valid JSON"),
    ],
)
def test_a_bad_run_json_is_refused(tmp_path, content, message):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=message):
        directory.stages(tmp_path)


@pytest.mark.parametrize(("beside", "is_run"), [("", False), ("run.json", True), ("checkpoints", True), ("x", False)])
def test_a_run_is_told_from_a_models_folder(tmp_path, beside, is_run):
    """Both have a config.json."""
    (tmp_path / (beside or "x")).mkdir()
    assert not directory.is_run(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert directory.is_run(tmp_path) == is_run


def test_the_config_of_a_run_is_read_and_a_folder_without_one_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds no run \(no config.json\)"):
        directory.read_config(tmp_path)
    claim(tmp_path, OTHER)
    assert directory.read_config(tmp_path) == OTHER
