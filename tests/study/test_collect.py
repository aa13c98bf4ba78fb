"""Tests the numbers of a study: pooled as by hand, paired, and missing cells reported as missing."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from moral_jax.analysis import metrics, summary
from moral_jax.analysis.bootstrap import interval
from moral_jax.analysis.table import from_records
from moral_jax.runs.records import read_jsonl
from moral_jax.runtime.files import write_jsonl
from moral_jax.study import collect, compare, jobs, runner
from moral_jax.study.pooled_rows import make_entries
from tests.study import conftest, fake


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Seven fake cells, run in this process."""
    folder = tmp_path_factory.mktemp("study")
    file = folder / "base.py"
    file.write_text(conftest.BASE)
    prepared = jobs.prepare(conftest.make_study(str(file)), folder, [])
    for job in prepared:
        assert fake.main([*job.arguments, f"--workdir={job.run}"]) == 0
    return prepared


@pytest.fixture
def numbers(finished):
    return collect.study("t", finished, 2000)["tasks"][0]


def entry(numbers, training, share=1.0):
    return next(e for e in numbers["entries"] if (e["training"], e["share"]) == (training, share))


def test_an_entry_is_the_mean_over_its_seeds(finished, numbers):
    of_ce = [j for j in finished if j.cell.training == "CE-tuned" and j.cell.share == 1]
    alone = [json.loads((j.stage / "metrics.json").read_text())["metrics"] for j in of_ce]
    got = entry(numbers, "CE-tuned")
    assert got["seeds"] == [0, 1]
    for name in (
        "cross_entropy",
        "dirichlet_nll",
        "accuracy",
        "macro_f1",
        "legacy_dirichlet",
        "calibrated_cross_entropy",
    ):
        assert got["metrics"][name]["value"] == pytest.approx(np.mean([a[name]["value"] for a in alone])), name
    assert got["train_rows"] == 210
    assert entry(numbers, "CE-tuned", 0.3)["train_rows"] == 63
    assert sum(b["pairs"] for b in got["reliability"]) == 2 * 2 * numbers["rows"]


def test_a_deterministic_entry_has_the_interval_of_its_rows(finished, numbers):
    """A single zero-shot cell adds no variance of seeds."""
    records = read_jsonl(finished[0].stage / "test.jsonl")
    ce = {"cross_entropy": metrics.cross_entropy(from_records(records))}
    want = interval(summary.resampling_of(records, 2000, 0).draws(ce)["cross_entropy"])
    assert entry(numbers, "zero-shot")["metrics"]["cross_entropy"] == pytest.approx(want)


def test_comparisons_are_paired_planned_and_corrected(finished, numbers):
    of_ce = [c for c in numbers["comparisons"] if c["metric"] == "cross_entropy"]
    # one model: none against another; three entries on all rows
    assert [c["what"] for c in of_ce] == ["tuning"] * 2 + ["objective"] + ["constant"] * 3 + ["people", "data"]
    assert [c["family"] for c in of_ce] == [2, 2, 1, 3, 3, 3, 1, 1]
    tuning = of_ce[0]
    assert (tuning["a"]["training"], tuning["b"]["training"]) == ("CE-tuned", "zero-shot")
    assert tuning["value"] == pytest.approx(tuning["a_value"] - tuning["b_value"])
    assert tuning["low"] < tuning["value"] < tuning["high"]
    assert all(c["p_family"] >= c["p"] for c in of_ce)
    assert all(c["p_family"] == c["p"] for c in of_ce if c["family"] == 1)
    zero, ce = entry(numbers, "zero-shot"), entry(numbers, "CE-tuned")
    spans = [e["metrics"]["cross_entropy"]["high"] - e["metrics"]["cross_entropy"]["low"] for e in (zero, ce)]
    assert tuning["high"] - tuning["low"] < sum(spans)
    data = of_ce[-1]
    assert (data["a"]["share"], data["b"]["share"]) == (1.0, 0.3)
    assert numbers["lowest"]["cross_entropy"] == of_ce[6]["a"]
    assert of_ce[3]["b_value"] == pytest.approx(numbers["yardsticks"]["best constant"]["cross_entropy"])
    assert of_ce[6]["b_value"] == pytest.approx(numbers["yardsticks"]["second panel"]["cross_entropy"])


def test_few_seeds_are_shown_themselves(numbers):
    """Three entries of two seeds pool three degrees of freedom; an entry of one seed adds nothing for seeds."""
    got = entry(numbers, "CE-tuned")["metrics"]["cross_entropy"]
    assert len(got["seeds"]) == 2
    assert got["value"] == pytest.approx(np.mean(got["seeds"]))
    assert "seeds" not in entry(numbers, "zero-shot")["metrics"]["cross_entropy"]


def test_two_models_with_the_same_numbers_are_one_in_the_comparisons(finished, tmp_path):
    """A rule and its mirror image claim the same of two options."""
    twins = []
    for name in ("Most words", "Fewest words"):
        cell = dataclasses.replace(finished[0].cell, row=name)
        job = dataclasses.replace(finished[0], cell=cell, folder=tmp_path)
        job.run.parent.mkdir(exist_ok=True)
        job.run.symlink_to(finished[0].run)
        twins.append(job)
    pool = make_entries(twins, 1000)
    kept, left_out = compare.models(pool, "cross_entropy")
    assert [e.row for e in kept] == ["Most words"]
    assert [(a.row, b.row) for a, b in left_out] == [("Fewest words", "Most words")]
    assert not [c for c in compare.comparisons(pool) if c["what"] == "models"]


def test_rows_that_share_an_action_widen_the_intervals_of_a_study(finished, tmp_path):
    """Records of the fake hold the keys of their rows; without them all rows count as independent."""
    job = finished[0]
    rows = read_jsonl(job.stage / "test.jsonl")
    bare = jobs.Job(job.cell, job.config, job.arguments, tmp_path)
    shutil.copytree(job.run, bare.run)
    write_jsonl(bare.stage / "test.jsonl", [{k: v for k, v in r.items() if k != "keys"} for r in rows])
    known, unknown = (collect.study("t", [j], 1000)["tasks"][0] for j in (job, bare))
    assert (known["keys_known"], unknown["keys_known"]) == (True, False)
    wide, narrow = (t["entries"][0]["metrics"]["accuracy"] for t in (known, unknown))
    assert wide["value"] == narrow["value"]
    assert wide["high"] - wide["low"] > narrow["high"] - narrow["low"]


def test_subsets_add_up_to_the_whole(numbers):
    of_split = [g for g in numbers["groups"] if g["kind"] == "second panel's split"]
    assert sum(g["rows"] for g in of_split) == numbers["rows"]
    of_ce = [next(e for e in g["entries"] if e["training"] == "CE-tuned") for g in of_split]
    mean = np.average([e["cross_entropy"]["value"] for e in of_ce], weights=[g["rows"] for g in of_split])
    assert mean == pytest.approx(entry(numbers, "CE-tuned")["metrics"]["cross_entropy"]["value"])


def test_yardsticks_and_the_second_panel(finished, numbers):
    assert set(numbers["yardsticks"]) == {"uniform", "train prior", "best constant", "BEST", "second panel"}
    records = read_jsonl(finished[0].stage / "test.jsonl")
    agree = np.mean([np.argmax(r["counts"]) == np.argmax(r["second_counts"]) for r in records])  # of five: no ties
    panel = numbers["yardsticks"]["second panel"]
    assert panel["accuracy"] == pytest.approx(agree)
    assert numbers["yardsticks"]["BEST"]["cross_entropy"] < panel["cross_entropy"] < 0.68


def test_what_is_missing_is_said(finished, tmp_path):
    """Entries, cells and seeds without results stay in the output."""
    file = finished[0].folder / "base.py"
    elsewhere = jobs.prepare(conftest.make_study(str(file)), tmp_path, [])
    empty = collect.study("t", elsewhere, 1000)
    assert [c["state"] for c in empty["cells"]] == [jobs.TO_DO] * 7
    assert [e["metrics"] for e in empty["tasks"][0]["entries"]] == [{}] * 4
    (tmp_path / "cells").mkdir()
    for index in (0, 2):
        elsewhere[index].run.symlink_to(finished[index].run)
    some = collect.study("t", elsewhere, 1000)["tasks"][0]
    assert [(e["planned"], e["seeds"]) for e in some["entries"]] == [(1, [0]), (2, [1]), (2, []), (2, [])]
    assert [c["what"] for c in some["comparisons"]] == ["tuning", "constant", "constant", "people"] * 2
    assert some["comparisons"][0]["one_seed"] == [{"row": "Fake 1B", "training": "CE-tuned", "share": 1.0}]


def test_a_run_without_a_vocabulary_has_no_legacy_numbers(finished, tmp_path):
    """Baselines and encoders have no token probabilities, so these metrics are absent."""
    job = finished[0]
    numbers = json.loads((job.stage / "metrics.json").read_text())
    stage = tmp_path / "cells" / job.cell.name / job.stage.name
    stage.mkdir(parents=True)
    for name in ("legacy_cross_entropy", "legacy_dirichlet", "option_mass"):
        del numbers["metrics"][name]
    (stage / "metrics.json").write_text(json.dumps(numbers))
    rows = read_jsonl(job.stage / "test.jsonl")
    for r in rows:
        del r["option_mass"]
    write_jsonl(stage / "test.jsonl", rows)
    (stage.parent / "config.json").write_text((job.run / "config.json").read_text())
    [e] = make_entries([jobs.Job(job.cell, job.config, job.arguments, tmp_path)], 1000).entries
    assert "cross_entropy" in e.draws
    assert not {"legacy_dirichlet", "option_mass"} & set(e.draws)


def test_words_of_durations_and_commands(finished):
    assert runner.duration(3723.4) == "1:02:03"
    assert "--config.train.steps=0" in runner.shell_command(finished[0])
