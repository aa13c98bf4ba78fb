"""Fixtures of the tables: a check of refusals, and a config that needs no network."""

from pathlib import Path

import pytest

from tests.bad_input.refusal import Refusal

CONFIG = """from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "{task}"
    c.eval.bootstrap = 100
    c.eval.best_draws = 10
    return c
"""


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refusal:
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return Refusal(tmp_path, capsys)


@pytest.fixture
def config_of(tmp_path: Path):
    """Writes a config for a task; returns the flag that names it."""

    def write(task: str) -> str:
        (tmp_path / "c.py").write_text(CONFIG.format(task=task))
        return f"--config={tmp_path / 'c.py'}"

    return write
