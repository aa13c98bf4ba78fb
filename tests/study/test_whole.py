"""Tests a study of real runs of a tiny model: a broken cell is retried, finished cells are skipped."""

import json

import pytest

from moral_jax.cli import main
from moral_jax.runs.records import read_jsonl
from tests.helpers import quick, tiny


@pytest.fixture
def study_file(tmp_path):
    base, model = tmp_path / "tiny.py", tmp_path / "model"
    model.mkdir()
    tiny.write_folder(model, layers=1)
    base.write_text(
        f"""
from moral_jax import config

def get_config():
    c = config.default()
    c.model.path = {str(model)!r}
    c.model.unroll = 1
    c.task.name = "synthetic"
    c.task.limit = 16
    c.data.length = 224
    c.data.batch_size = 1
    c.data.micro_batch_size = 1
    c.optim.lr = 3e-3
    c.train.epochs = 1
    c.train.select = "last"
    c.eval.bootstrap = 100
    c.eval.best_draws = 10
    return c
"""
    )
    path = tmp_path / "study.py"
    path.write_text(
        f"""
from moral_jax.study.spec import CE, SOFT, Study, tuned, zero_shot

def get_study():
    of = "Tiny", "synthetic"
    cells = zero_shot(*of, {str(base)!r}), *tuned(*of, CE, {str(base)!r}, *SOFT, seeds=(0,))
    return Study("Tiny", cells, resamples=1000)
"""
    )
    return path


def test_a_whole_study_of_real_runs(study_file, tmp_path, monkeypatch, capsys):
    for name, value in quick.PROCESS.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "out"
    broken = out / "cells" / "tiny.synthetic.ce-tuned.seed-0"
    broken.mkdir(parents=True)
    (broken / "junk").write_text("left by somebody")

    def call(*arguments):
        return main.main(["study", f"--config={study_file}", f"--workdir={out}", *arguments])

    assert call("--shard=1/2") == 0
    assert call("--shard=2/2") == 1
    assert "is not empty and holds no run" in capsys.readouterr().out
    done = {p: p.stat().st_mtime_ns for p in out.glob("cells/*/*/test.jsonl")}
    assert [p.parent.name for p in done] == ["initial"]

    (broken / "junk").unlink()
    assert call() == 0
    assert all(p.stat().st_mtime_ns == t for p, t in done.items())
    assert not (broken / "initial").exists()  # the zero-shot cell has scored that
    [task] = json.loads((out / "study.json").read_text())["tasks"]
    assert [(e["training"], e["seeds"]) for e in task["entries"]] == [("zero-shot", [0]), ("CE-tuned", [0])]
    cells = "tiny.synthetic.zero-shot.seed-0/initial", "tiny.synthetic.ce-tuned.seed-0/trained"
    before, after = (read_jsonl(out / "cells" / cell / "test.jsonl")[0]["probabilities"] for cell in cells)
    assert before != after
    assert "2 of 2 cells are done." in (out / "study.md").read_text()
    assert "Synthetic data" in (out / "study.html").read_text()
