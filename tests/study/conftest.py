"""A study of fake runs, small enough to be done in seconds."""

from pathlib import Path

import pytest

from moral_jax.study import jobs
from moral_jax.study.spec import CE, Study, both_objectives, learning_curve, zero_shot

QUICK = ("--config.eval.bootstrap=100", "--config.eval.best_draws=10")
BASE = """from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "synthetic"
    c.optim.lr = 0.8
    return c
"""


def make_study(file: str) -> Study:
    """Returns a study of one model: untrained, trained on both objectives with two seeds, one learning-curve point."""
    weak = "--config.optim.lr=0.3"
    cells = (
        zero_shot("Fake 1B", "dilemmas", file, *QUICK),
        *both_objectives("Fake 1B", "dilemmas", file, *QUICK, seeds=(0, 1)),
        *learning_curve("Fake 1B", "dilemmas", CE, file, *QUICK, weak, shares=(0.3,), seeds=(0, 1)),
    )
    return Study("A study of nothing", cells, resamples=1000)


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    path = tmp_path / "base.py"
    path.write_text(BASE)
    return str(path)


@pytest.fixture
def study(config_file: str) -> Study:
    return make_study(config_file)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces training by a fake command."""
    monkeypatch.setitem(jobs.KINDS, "train", jobs.Kind(("python", "train.py"), "tests.study.fake:main", ()))
