"""Pages of docs/extending that add a row to a table are followed on a copy of the package, and a command is run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import moral_jax
from tests.helpers import quick

PACKAGE = Path(moral_jax.__file__).parent
PAGES = Path(__file__).resolve().parents[2] / "docs" / "extending"
ROW = re.compile(
    r"^(\w+)(?:: [^=]+)? = \{.*\n((?:    .*\n)+?)    \.\.\.\n", re.MULTILINE
)  # of a table, and before its "..."
QUICK = ("--config.eval.bootstrap=100", "--config.eval.best_draws=10")


def follow(page: str, package: Path) -> None:
    """Adds what a page shows to the files that it names: functions before the table, rows at its head."""
    text = (PAGES / f"{page}.md").read_text()
    blocks = re.findall(r"into `moral_jax/([\w/]+\.py)`.*?\n```python\n(.*?)```", text, re.DOTALL)
    assert blocks, page
    for file, code in blocks:
        [row] = ROW.finditer(code)
        path = package / file
        table = re.compile(rf"^{row[1]}(?:: [^=]+)? = \{{.*\n", re.MULTILINE)
        source = path.read_text()
        assert len(table.findall(source)) == 1, (page, file)
        path.write_text(table.sub(lambda head, code=code, row=row: code[: row.start()] + head[0] + row[2], source))


@pytest.fixture
def run(tmp_path):
    """Runs the command line of a copy of the package that a page has changed; returns the run's directory."""

    def extended(page: str, *arguments: str, out: str = "--workdir") -> Path:
        copy = tmp_path / "copy" / "moral_jax"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "configs"))
        follow(page, copy)
        path = os.pathsep.join((str(tmp_path / "copy"), quick.PROCESS["PYTHONPATH"]))
        env = os.environ | quick.PROCESS | {"PYTHONPATH": path}
        command = [sys.executable, "-m", "moral_jax", *arguments, f"{out}={tmp_path / 'run'}"]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return tmp_path / "run"

    return extended


def test_an_objective(run, tiny_folder):
    folder = run(
        "objective", "train", "--config.objective.name=squared_distance", "--config.task.name=synthetic",
        "--config.task.limit=8", f"--config.model.path={tiny_folder}", "--config.model.unroll=1",
        "--config.data.length=224", "--config.train.steps=2", "--config.optim.lr=1e-2", *QUICK,
        f"--config={_defaults(tiny_folder)}",
    )  # fmt: skip
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert len(losses) == 2
    assert 0 < losses[0] < 2
    assert (folder / "report.html").exists()


def _defaults(folder: Path) -> Path:
    path = folder.parent / "defaults.py"
    path.write_text("from moral_jax import config\n\n\ndef get_config():\n    return config.default()\n")
    return path


def test_a_task(run, tmp_path):
    (tmp_path / "coins.csv").write_text("coins\n" + "".join(f'"[{i}, {20 - i}]"\n' for i in range(1, 20)))
    folder = run(
        "task", "eval", "--model=scripted:uniform",
        "--config.task.name=coins", f"--config.task.path={tmp_path / 'coins.csv'}", "--config.task.test=1",
        "--config.task.validation=0", *QUICK,
    )  # fmt: skip
    assert len((folder / "answers" / "test.jsonl").read_text().splitlines()) == 19
    assert "coins that were thrown" in (folder / "report.html").read_text()


def test_a_scripted_respondent(run):
    folder = run(
        "respondent", "eval", "--model=scripted:shortest", "--config.task.name=synthetic", "--config.task.limit=8",
        *QUICK,
    )  # fmt: skip
    for line in (folder / "answers" / "test.jsonl").read_text().splitlines():
        record = json.loads(line)
        short = min(range(2), key=lambda i: len(record["options"][i]))
        if len(set(map(len, record["options"]))) == 2:
            assert record["probabilities"][short] == 1


def test_a_tally(run, tmp_path):
    asked = tmp_path / "asked"
    asked.mkdir()
    lines = [{"row": f"r{i}", "options": ["a", "b"], "probabilities": [0.7, 0.3]} for i in range(6)]
    (asked / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = run("tally", "tally", str(asked), "--as=certain", out="--out")
    [cell] = json.loads((folder / "tally.json").read_text())["tables"]["Certainty"]["cells"]["model"].values()
    assert cell["share"]["value"] == pytest.approx(0.7)
    assert cell["share"]["nulls"]["uniform"] == 0.5


def test_a_metric(run):
    folder = run(
        "metric", "eval", "--model=scripted:uniform", "--config.task.name=synthetic", "--config.task.limit=8", *QUICK
    )
    records = [json.loads(line) for line in (folder / "answers" / "test.jsonl").read_text().splitlines()]
    gaps = [max(abs(0.5 - c / sum(r["counts"])) for c in r["counts"]) for r in records]
    found = json.loads((folder / "answers" / "metrics.json").read_text())["metrics"]["largest_gap"]["value"]
    assert found == pytest.approx(sum(gaps) / len(gaps))
    assert "largest gap" in (folder / "report.html").read_text()


def test_a_judge(run, tmp_path):
    replies = tmp_path / "replies.jsonl"
    texts = ("Why not?", "Because.", "Is it? No.", "Really? ")
    replies.write_text("".join(json.dumps({"id": f"r{i}", "text": text}) + "\n" for i, text in enumerate(texts)))
    folder = run("judge", "judge", str(replies), "--judge=asks", out="--out")
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    said = {record["row"]: record["replies"][0]["judgements"]["asks"] for record in records}
    assert said == {"r0": 1.0, "r1": 0.0, "r2": 0.0, "r3": 1.0}


def test_a_family(run, tiny_folder, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(tiny_folder, mine)
    hf = json.loads((mine / "config.json").read_text())
    (mine / "config.json").write_text(json.dumps(hf | {"model_type": "example"}))
    tensors = load_file(mine / "model.safetensors")
    for name in [n for n in tensors if n.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))]:
        tensors[name.replace("weight", "bias")] = np.zeros(len(tensors[name]), tensors[name].dtype)
    save_file(tensors, mine / "model.safetensors")
    shares = []
    for model in (tiny_folder, mine):  # biases of zero change nothing
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        flags = ("--config.task.name=synthetic", "--config.task.limit=8", "--config.model.unroll=1", *QUICK)
        folder = run("family", "eval", f"--model={model}", "--config.data.length=224", *flags)
        lines = (folder / "answers" / "test.jsonl").read_text().splitlines()
        shares.append([json.loads(line)["probabilities"] for line in lines])
    np.testing.assert_allclose(shares[0], shares[1], atol=1e-6)


def test_every_page_is_followed():
    text = Path(__file__).read_text()
    for page in PAGES.glob("*.md"):
        assert f'"{page.stem}", "' in text or f'"{page.stem}",\n' in text, page
