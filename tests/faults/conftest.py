"""A run that nothing happened to, and the same run in processes to which something does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moral_jax.train import seals
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 240  # seconds for any process
STEPS, EVAL_EVERY = 240, 20
NOTHING = {"at": "never", "do": "kill"}
CONFIG = """
from moral_jax import config

def get_config():
    c = config.default()
    c.model.path, c.model.unroll = {model!r}, 1
    c.task.name, c.task.limit = "synthetic", 12
    c.data.length, c.data.batch_size, c.data.micro_batch_size, c.eval.batch_size = 160, 2, 1, 4
    c.data.questions_per_row = 3
    c.objective.name, c.objective.concentration = "dirichlet_multinomial", "predicted"
    c.optim.lr = 1e-3
    c.train.epochs, c.train.steps, c.train.eval_every, c.train.checkpoint_minutes = 120, {steps}, {eval_every}, 1e-6
    c.eval.bootstrap, c.eval.best_draws = 100, 10
    return c
"""


class Runs:
    """Starts train.py in processes of one device each, which share compiled programs."""

    def __init__(self, folder: Path):
        model = folder / "model"
        model.mkdir()
        tiny.write_folder(model, layers=1)
        self.config = folder / "c.py"
        self.config.write_text(CONFIG.format(model=str(model), steps=STEPS, eval_every=EVAL_EVERY))
        self.env = os.environ | {
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
            "MORAL_JAX_CACHE": str(folder / "cache"),
            "TQDM_DISABLE": "1",
        }

    def start(self, workdir: Path, plan: dict = NOTHING, *flags: str, **how) -> subprocess.Popen:
        command = [sys.executable, "-m", "tests.faults.child", json.dumps(plan), f"--config={self.config}"]
        return subprocess.Popen(
            [*command, f"--workdir={workdir}", *flags], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self.env | how.pop("env", {}), **how,
        )  # fmt: skip

    def run(self, workdir: Path, plan: dict = NOTHING, *flags: str, **how) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        return finish(self.start(workdir, plan, *flags, **how))


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    return process.returncode, out, err


def trace(folder: Path) -> list[dict]:
    """The lines of a run, times left out."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "idle")} for row in rows]


def assert_same_run(got: Path, want: Path) -> None:
    """Bit for bit: weights and moments (by their checksums), every line of the log, every record."""
    steps = seals.steps(want / "checkpoints")
    assert seals.steps(got / "checkpoints") == steps
    for step in steps:
        a, b = (seals.read(folder / "checkpoints", step) for folder in (got, want))
        assert (a.progress, a.checksums) == (b.progress, b.checksums)
    assert trace(got) == trace(want)
    for stage in ("before", "after"):
        for split in ("validation", "test"):
            file = f"{stage}/{split}.jsonl"
            assert (got / file).read_bytes() == (want / file).read_bytes(), file


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def whole(runs, tmp_path_factory):
    """The run to which nothing happens."""
    folder = tmp_path_factory.mktemp("whole") / "r"
    code, _, err = runs.run(folder)
    assert code == 0, err
    return folder
