"""Fixtures: an undisturbed run, and the same run in processes that are disturbed."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moral_jax.train import manifest
from tests.faults import child
from tests.helpers import quick, tiny
from tests.helpers.forks import Forked

LIMIT = 240  # seconds for any process
STEPS, EVAL_EVERY = 40, 10
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


class Started(Forked):
    """A process that runs a command."""

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition is true or the process has ended."""
        end = time.monotonic() + LIMIT
        while not condition() and self.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.02)

    def finish(self) -> tuple[int, str, str]:
        """Waits for the end; returns exit code, output and errors."""
        try:
            out, err = self.communicate(LIMIT)
        finally:
            self.kill()
        return self.returncode, out, err


class Runs:
    """Starts train.py in processes of one device each, which share compiled programs."""

    def __init__(self, folder: Path, config: str = CONFIG, **values: object):
        self.folder, self.count = folder, 0
        (folder / "model").mkdir()
        tiny.write_folder(folder / "model", layers=1)
        self.config = folder / "c.py"
        values = {"steps": STEPS, "eval_every": EVAL_EVERY} | values
        self.config.write_text(config.format(model=str(folder / "model"), **values))

    def start(self, workdir: Path, plan: dict | None = None, **env: str) -> Started:
        return self.command(["train", f"--config={self.config}", f"--workdir={workdir}"], plan, **env)

    def command(self, arguments: list[str], plan: dict | None = None, **env: str) -> Started:
        """Starts any command in a process of its own."""
        self.count += 1
        ours = {
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "MORAL_JAX_CACHE": str(self.folder / "cache"),
            "TQDM_DISABLE": "1",
            "XLA_FLAGS": quick.XLA_FLAGS,
        }
        return Started(child.main, (plan, arguments), ours | env, self.folder / f"said{self.count}")

    def run(self, workdir: Path, plan: dict | None = None, **env: str) -> tuple[int, str, str]:
        """Waits for the end; returns exit code, output and errors."""
        return self.start(workdir, plan, **env).finish()


def kill_at(runs: Runs, workdir: Path, moments: list[dict]) -> Iterator[dict]:
    """Starts a run again and again, each time killed at the next moment; yields the moment after each life."""
    for moment in moments:
        code, _, err = runs.run(workdir, moment | {"do": "kill"})
        assert code == -signal.SIGKILL, (moment, err)
        yield moment


def finished(runs: Runs, workdir: Path) -> Path:
    """Runs to the end, undisturbed; returns the folder."""
    code, _, err = runs.run(workdir)
    assert code == 0, err
    return workdir


def trace(folder: Path) -> list[dict]:
    """Returns the lines of a run's log without times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    of_time = ("seconds", "idle", "writing_seconds", "scoring_seconds")
    return [{k: v for k, v in row.items() if k not in of_time} for row in rows]


def assert_same_run(got: Path, want: Path) -> None:
    """Compares bit for bit: weights and moments (by checksum), every line of the log, every record."""
    steps = manifest.steps(want / "checkpoints")
    assert manifest.steps(got / "checkpoints") == steps
    for step in steps:
        a, b = (manifest.read(folder / "checkpoints", step) for folder in (got, want))
        assert (a.progress, a.checksums) == (b.progress, b.checksums)
    assert trace(got) == trace(want)
    records = [path.relative_to(want) for path in want.glob("*/*.jsonl")]
    assert records
    for path in records:
        assert (got / path).read_bytes() == (want / path).read_bytes(), path


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def whole(runs, tmp_path_factory):
    """Returns the folder of an undisturbed run."""
    return finished(runs, tmp_path_factory.mktemp("whole") / "r")
