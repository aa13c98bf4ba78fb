"""Adding an objective, a task or a scripted respondent touches one product file: each is added to a copy and run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import moral_jax
from tests.helpers import quick

PACKAGE = Path(moral_jax.__file__).parent
TOY_OBJECTIVE = '''
def squared_distance(read: ReadOut, batch: Batch) -> Metrics:
    """Returns the squared distance between shares and probabilities."""
    asks = batch.asks
    p_BQC = jnp.exp(log_probabilities(read.options().logits_BQC))
    q_BQC = asks.counts_BQC / total(asks.counts_BQC)[..., None]
    return {"loss": weighted(jnp.sum((p_BQC - q_BQC) ** 2, axis=-1), asks.weights_BQ)}


OBJECTIVES: dict[str, Objective] = {
    "squared_distance": Objective(squared_distance, Options, "cross_entropy", "Brier-tuned", reads=()),
'''
TOY_TASK = '''
def _coins(row: Row, config: TaskConfig) -> list[Example]:
    """Returns the question of a row of heads and tails."""
    return [Example(row.where, "Heads or tails?", ("heads", "tails"), row.votes("coins", row.items("coins", 2)))]


TASKS: dict[str, Task] = {
    "coins": Task(
        examples=_coins, built_in=None, released=None, study_prompt=None, about_one=None, classes=None,
        description="coins that were thrown", citation="nobody", licence="none",
    ),
'''
TOY_RULE = '''
def shortest(question: Record, order: Sequence[int]) -> list[float]:
    """Returns all for the option of fewest characters."""
    return _best([-len(question["options"][i]) for i in order])


RULES: dict[str, Named] = {
    "shortest": Named(shortest, "always takes the option of fewest characters"),
'''
TOY_TALLY = '''
def certain(a: Answered) -> Iterator[Measure]:
    """Yields the mean share of the likeliest option."""
    yield Measure("Certainty", "all rows", "share", a.mean(max(r["probabilities"]) for r in a.records))


TALLIES: dict[str, Tally] = {
    "certain": Tally(certain, "how sure the answers are"),
'''
QUICK = ("--config.eval.bootstrap=100", "--config.eval.best_draws=10")


@pytest.fixture
def run(tmp_path):
    """Runs the command line of a copy of the package, of which one file was changed; returns the run's directory."""

    def extended(file: str, table: str, addition: str, *arguments: str, out: str = "--workdir") -> Path:
        copy = tmp_path / "copy" / "moral_jax"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "configs"))
        text = (copy / file).read_text()
        assert text.count(table) == 1
        (copy / file).write_text(text.replace(table, addition))
        path = os.pathsep.join((str(tmp_path / "copy"), quick.PROCESS["PYTHONPATH"]))
        env = os.environ | quick.PROCESS | {"PYTHONPATH": path}
        command = [sys.executable, "-m", "moral_jax", *arguments, f"{out}={tmp_path / 'run'}"]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return tmp_path / "run"

    return extended


def test_an_objective(run, tiny_folder):
    folder = run(
        "objectives/votes.py", "OBJECTIVES: dict[str, Objective] = {\n", TOY_OBJECTIVE.lstrip("\n"),
        "train", "--config.objective.name=squared_distance", "--config.task.name=synthetic", "--config.task.limit=8",
        f"--config.model.path={tiny_folder}", "--config.model.unroll=1", "--config.data.length=224",
        "--config.train.steps=2", "--config.optim.lr=1e-2", *QUICK, f"--config={_defaults(tiny_folder)}",
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
        "tasks/registry.py", "TASKS: dict[str, Task] = {\n", TOY_TASK.lstrip("\n"), "eval", "--model=scripted:uniform",
        "--config.task.name=coins", f"--config.task.path={tmp_path / 'coins.csv'}", "--config.task.test=1",
        "--config.task.validation=0", *QUICK,
    )  # fmt: skip
    assert len((folder / "answers" / "test.jsonl").read_text().splitlines()) == 19
    assert "coins that were thrown" in (folder / "report.html").read_text()


def test_a_scripted_respondent(run):
    folder = run(
        "analysis/rules.py", "RULES: dict[str, Named] = {\n", TOY_RULE.lstrip("\n"), "eval",
        "--model=scripted:shortest", "--config.task.name=synthetic", "--config.task.limit=8", *QUICK,
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
    folder = run(
        "analysis/tallies/count.py", "TALLIES: dict[str, Tally] = {\n", TOY_TALLY.lstrip("\n"), "tally", str(asked),
        "--as=certain", out="--out",
    )  # fmt: skip
    [cell] = json.loads((folder / "tally.json").read_text())["tables"]["Certainty"]["cells"]["model"].values()
    assert cell["share"]["value"] == pytest.approx(0.7)
    assert cell["share"]["nulls"]["uniform"] == 0.5
