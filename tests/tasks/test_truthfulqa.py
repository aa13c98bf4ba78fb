"""The published file of TruthfulQA: how many answers a question has, and what guessing gets."""

import numpy as np
import pytest

from moral_jax.config.task import TaskConfig
from moral_jax.tasks import load
from moral_jax.tasks.truthfulqa import SET


def test_chance_on_the_published_file(shared):
    task = TaskConfig(name="truthfulqa", test_only=True, path=str(shared / "truthfulqa" / "mc_task.json"))
    rows, _ = load.of_one_file(task.path, task)
    of = {name: [e for e in rows["rows"] if e.groups[SET] == name] for name in ("MC1", "MC2")}
    assert {name: len(found) for name, found in of.items()} == {"MC1": 790, "MC2": 790}
    assert all(sum(e.counts) == 1 for e in of["MC1"])
    chance = {name: np.mean([sum(e.counts) / len(e.options) for e in found]) for name, found in of.items()}
    assert chance == pytest.approx({"MC1": 0.2229, "MC2": 0.4677}, abs=5e-5)
    options = {name: np.mean([len(e.options) for e in found]) for name, found in of.items()}
    assert options == pytest.approx({"MC1": 5.14, "MC2": 7.65}, abs=5e-3)
    assert np.mean([sum(e.counts) for e in of["MC2"]]) == pytest.approx(3.52, abs=5e-3)
