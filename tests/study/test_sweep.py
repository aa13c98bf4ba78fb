"""Tests searches: their points, and the ranking by validation rows alone."""

import json

import numpy as np
import pytest

from moral_jax.cli import main
from moral_jax.runs.records import read_jsonl
from moral_jax.study import sweep
from moral_jax.types import UserError
from tests.study.conftest import QUICK

LR, EPOCHS = sweep.Axis("optim.lr", ["0.1", "0.9"]), sweep.Axis("train.epochs", ["1", "2", "3"])


def test_a_grid_is_every_combination():
    points = sweep.grid([LR, EPOCHS])
    assert len(points) == len({tuple(p.values()) for p in points}) == 6
    assert points[1] == {"optim.lr": "0.1", "train.epochs": "2"}


def test_a_search_without_end_is_refused():
    many = [sweep.Axis(f"f{n}", list("12345678")) for n in range(8)]
    with pytest.raises(UserError, match=r"--grid: has 16777216 points, more than 10000"):
        sweep.grid(many)
    for count in (0, -1, 100_000_000):
        with pytest.raises(UserError, match=f"--random={count}: expected 1 to 10000 points"):
            sweep.draw(many, [], count, 0)


def test_random_points_differ_lie_in_their_range_and_more_begin_with_the_same():
    rate = sweep.Axis("optim.lr", ["1e-6", "1e-2"])
    points = sweep.draw([EPOCHS], [rate], 40, seed=3)
    assert points[:10] == sweep.draw([EPOCHS], [rate], 10, seed=3)
    assert points != sweep.draw([EPOCHS], [rate], 40, seed=4)
    drawn = np.array([float(p["optim.lr"]) for p in points])
    assert len({tuple(p.values()) for p in points}) == 40
    assert drawn.min() >= 1e-6
    assert drawn.max() <= 1e-2
    assert 0.25 < np.mean(drawn < 1e-4) < 0.75  # even in the logarithm
    with pytest.raises(UserError, match="only about 6 different points"):
        sweep.draw([LR, EPOCHS], [], 7, seed=0)


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        ("--grid", "optim.lr", "expected FIELD=VALUE,VALUE"),
        ("--grid", "optim.lrr=1", "did you mean --config.optim.lr"),
        ("--grid", "optim.lr=1,fast", "expected float"),
        ("--range", "optim.lr=1e-3,1e-5", "0 < LOW < HIGH"),
        ("--range", "prompt.format=chat,plain", "expected a number's FIELD=LOW,HIGH"),
    ],
)
def test_axes_that_cannot_be(flag, text, message):
    with pytest.raises(UserError, match=message):
        sweep.parse_axis(flag, text)


def call(config_file, folder, *arguments):
    return main.main(["sweep", f"--config={config_file}", f"--workdir={folder}", *QUICK, *arguments])


@pytest.mark.usefixtures("fake")
def test_a_sweep_ranks_by_validation_and_goes_on(config_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert call(config_file, out, "--grid", "optim.lr=0.05,0.7") == 0
    first = json.loads((out / "sweep.json").read_text())["points"]
    assert [p["point"]["optim.lr"] for p in first] == ["0.7", "0.05"]
    assert not list(out.glob("cells/*/*/test.jsonl"))  # the test rows were not even scored
    times = {p: p.stat().st_mtime_ns for p in out.glob("cells/*/trained/validation.jsonl")}

    assert call(config_file, out, "--grid", "optim.lr=0.05,0.3,0.7") == 0
    points = json.loads((out / "sweep.json").read_text())["points"]
    assert [p["point"]["optim.lr"] for p in points] == ["0.7", "0.3", "0.05"]
    assert all(p.stat().st_mtime_ns == t for p, t in times.items())
    worst = read_jsonl(next(out.glob("cells/optim.lr=0.05*/trained/validation.jsonl")))
    ce = [-np.dot(r["counts"], np.log(r["probabilities"])) / sum(r["counts"]) for r in worst]
    assert points[-1]["cross_entropy"] == pytest.approx(np.mean(ce))
    behind = points[-1]["behind"]
    assert behind["value"] == pytest.approx(np.mean(ce) - points[0]["cross_entropy"])
    assert behind["low"] < behind["value"] < behind["high"]
    assert (behind["low"] + behind["high"]) / 2 == pytest.approx(behind["value"], rel=0.2)
    assert "| 1 | 0.7 " in (out / "sweep.md").read_text()


def test_searches_that_make_no_sense(config_file, tmp_path, capsys):
    for arguments, message in (
        ([], "nothing to search"),
        (["--range", "optim.lr=1e-5,1e-3"], "needs --random=N"),
        (["--grid", "task.split_seed=0,1"], "judged by the same rows"),
        (["--grid", "optim.lr=0.1,0.2", "--config.optim.lr=1"], "this field is searched"),
        (["--grid", "objective.name=soft_cross_entropy,dirichlet_multinomial"], "say what ranks them: --by="),
        (["--grid", "optim.lr=0.1", "--config.task.path=x", "--config.task.validation=0"], "ranked by validation rows"),
    ):
        assert call(config_file, tmp_path / "o", *arguments) == 2
        assert message in capsys.readouterr().err
