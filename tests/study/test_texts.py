"""A search over runs on preferences: ranked by the validation rows, as the records have them."""

import json

import numpy as np
import pytest

from moral_jax.cli import main
from moral_jax.config import parsing
from moral_jax.runs.reply_records import read_reply_jsonl
from moral_jax.runs.text_records import read_text_jsonl
from moral_jax.study import jobs, sweep
from moral_jax.workflows import train

ROWS = 24
CONFIG = """from moral_jax import config


def get_config():
    c = config.default()
    c.model.path, c.task.name, c.task.path, c.objective.name = {model!r}, "preferences", {path!r}, "dpo"
    c.task.validation, c.data.length, c.data.batch_size, c.data.micro_batch_size = 0.4, 128, 8, 8
    c.train.steps, c.eval.bootstrap, c.eval.best_draws = 1, 100, 10
    return c
"""


@pytest.fixture
def file(tiny_folder, tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Number {i}?", "chosen": f"yes {i}", "rejected": f"never {i}"} for i in range(ROWS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "c.py").write_text(CONFIG.format(model=str(tiny_folder), path=str(path)))
    return tmp_path / "c.py"


@pytest.mark.usefixtures("two_devices")
def test_a_sweep_over_preferences(file, tmp_path, capsys):
    points, out = sweep.grid([sweep.Axis("optim.lr", ["1e-4", "1e-2"])]), tmp_path / "out"
    for job in jobs.prepare(sweep.study("s", str(file), points), out, []):
        train.train(job.config, job.run)
    call = ["sweep", f"--config={file}", f"--workdir={out}", "--grid", "optim.lr=1e-4,1e-2"]
    assert main.main(call) == 0
    found = json.loads((out / "sweep.json").read_text())
    assert found["by"] == "reward_accuracy"
    first, second = found["points"]
    for point in (first, second):
        records = read_text_jsonl(out / "cells" / point["name"] / "trained" / "validation.jsonl")
        gains = np.array([np.subtract(r["logp"], r["reference"]) for r in records])
        assert point["reward_accuracy"] == pytest.approx(np.mean(gains[:, 0] > gains[:, 1]))
        assert point["reward_margin"] == pytest.approx(0.1 * (gains[:, 0] - gains[:, 1]).mean(), rel=1e-4)
    assert first["reward_accuracy"] > second["reward_accuracy"] or first["reward_margin"] != second["reward_margin"]
    assert second["behind"]["value"] == pytest.approx(first["reward_accuracy"] - second["reward_accuracy"])
    assert "reward_margin" in (out / "sweep.md").read_text()

    assert main.main([*call, "--by=nll_per_token"]) == 0
    by_nll = json.loads((out / "sweep.json").read_text())["points"]
    assert by_nll[0]["nll_per_token"] < by_nll[1]["nll_per_token"]
    capsys.readouterr()
    assert main.main([*call, "--by=cross_entropy"]) == 2
    assert "--by=cross_entropy: these points are ranked by reward_accuracy" in capsys.readouterr().err


@pytest.mark.usefixtures("two_devices")
def test_a_study_of_preferences(file, tmp_path, capsys):
    """Untrained beside two seeds: means over seeds, and differences by row, of what the records say."""
    (tmp_path / "study.py").write_text(
        f"""
from moral_jax.study.spec import Study, tuned, zero_shot

def get_study():
    of = "Tiny", "pairs"
    cells = zero_shot(*of, {str(file)!r}), *tuned(*of, "DPO", {str(file)!r}, seeds=(0, 1))
    return Study("Tiny", cells, resamples=1000)
"""
    )
    call = ["study", f"--config={tmp_path / 'study.py'}", f"--workdir={tmp_path / 'out'}", "--page-only"]
    study, folder = parsing.from_file(str(tmp_path / "study.py"), "get_study"), tmp_path / "out"
    everything = jobs.prepare(study, folder, ["--config.optim.lr=1e-2"])
    for job in everything:
        train.train(job.config, job.run)
    assert main.main([*call, "--config.optim.lr=1e-2"]) == 0
    [task] = json.loads((folder / "study.json").read_text())["tasks"]
    untrained, trained = task["entries"]
    per_token = []
    for job in everything:
        records = read_text_jsonl(folder / "cells" / job.cell.name / job.stage_name / "test.jsonl")
        per_token.append(-sum(r["logp"][0] for r in records) / sum(r["tokens"][0] for r in records))
    assert untrained["metrics"]["nll_per_token"]["value"] == pytest.approx(per_token[0])
    assert trained["seeds"] == [0, 1]
    assert trained["metrics"]["nll_per_token"]["value"] == pytest.approx(np.mean(per_token[1:]))
    moved = trained["minus_first"]["nll_per_token"]
    assert moved["value"] == pytest.approx(np.mean(per_token[1:]) - per_token[0])
    assert moved["low"] < moved["value"] < moved["high"]
    assert trained["metrics"]["reward_accuracy"]["value"] > 0.5
    assert "reward_accuracy" not in untrained["metrics"]  # it has moved from nothing
    said = (folder / "study.md").read_text()
    assert "minus Tiny (zero-shot)" in said
    assert "3 of 3 cells are done" in said
    assert "Tiny (DPO)" in (folder / "study.html").read_text()


RL = """from moral_jax import config


def get_config():
    c = config.default()
    c.model.path, c.prompt.format, c.task.name, c.task.path = {model!r}, "plain", "prompts", {path!r}
    c.task.validation, c.task.test, c.objective.name, c.rollout.reward = 0.5, 0.25, "grpo", {reward!r}
    c.rollout.prompts, c.rollout.sample.n, c.rollout.sample.max_tokens = 2, 4, 4
    c.data.length, c.data.micro_batch_size, c.train.steps = 128, 4, 1
    c.eval.bootstrap, c.eval.best_draws = 100, 10
    return c
"""


@pytest.mark.usefixtures("two_devices")
def test_a_sweep_over_reinforcement_learning(tiny_folder, tmp_path, capsys):
    """Ranked by the reward of the replies to validation prompts; what would judge points differently is refused."""
    path, file, out = tmp_path / "prompts.jsonl", tmp_path / "c.py", tmp_path / "out"
    path.write_text("".join(json.dumps({"prompt": f"Number {i}?"}) + "\n" for i in range(12)))
    (tmp_path / "mine.py").write_text("def letters(replies):\n    return [float(len(set(r.text))) for r in replies]\n")
    file.write_text(RL.format(model=str(tiny_folder), path=str(path), reward=f"{tmp_path / 'mine.py'}:letters"))
    points = sweep.grid([sweep.Axis("optim.lr", ["1e-5", "1e-1"])])
    for job in jobs.prepare(sweep.study("s", str(file), points), out, []):
        train.train(job.config, job.run)
    call = ["sweep", f"--config={file}", f"--workdir={out}", "--grid", "optim.lr=1e-5,1e-1"]
    assert main.main(call) == 0
    found = json.loads((out / "sweep.json").read_text())
    assert found["by"] == "reward"
    first, second = found["points"]
    for point in (first, second):
        stage = out / "cells" / point["name"] / "trained"
        assert not (stage / "test.jsonl").exists()
        of = [
            np.mean([reply["reward"] for reply in r["replies"]]) for r in read_reply_jsonl(stage / "validation.jsonl")
        ]
        assert len(of) == 6
        assert point["reward"] == pytest.approx(np.mean(of))
    assert first["reward"] > second["reward"]
    assert second["behind"]["value"] == pytest.approx(first["reward"] - second["reward"])
    for flags, said in (
        (["--by=cross_entropy"], "--by=cross_entropy: these points are ranked by reward"),
        (["--grid", "rollout.reward=finished,refusal"], "rollout.reward: cannot be searched, as replies of all points"),
        (["--grid", "rollout.sample.temperature=0.5,1"], "rollout.sample.temperature: cannot be searched"),
    ):
        capsys.readouterr()
        assert main.main([*call, *flags]) == 2
        assert said in capsys.readouterr().err
