"""MC1 and MC2 by hand; ties are no credit, and no scale of log-probabilities matters."""

import numpy as np
import pytest

from moral_jax.analysis import multiple_choice
from moral_jax.objectives.votes import log_probabilities


def record(logp, counts, name, **groups):
    p = np.exp(np.asarray(log_probabilities(np.array(logp, np.float32)), np.float64))
    return {"probabilities": (p / p.sum()).tolist(), "counts": counts, "groups": {"set": name, **groups}}


@pytest.mark.parametrize("shift", [0.0, -800.0])
def test_mc2(shift):
    """True -10 and -11, false -10.5 and -12: 0.648362, and the same 800 nats lower, where e^x is 0."""
    logp = np.array([-10.0, -11.0, -10.5, -12.0]) + shift
    found = multiple_choice.summarise([record(logp, [1, 1, 0, 0], "MC2")], 100, 0)["MC2"]
    assert found["all"]["value"] == pytest.approx(0.648362, abs=2e-5)
    assert found["chance"] == 0.5


@pytest.mark.parametrize(
    ("logp", "score"), [([-1, -2, -3], 1), ([-2, -1, -3], 0), ([-1, -1, -3], 0), ([-1, -1, -1], 0)]
)
def test_mc1(logp, score):
    found = multiple_choice.summarise([record(logp, [1, 0, 0], "MC1")], 100, 0)["MC1"]
    assert found["all"]["value"] == score
    assert found["chance"] == pytest.approx(1 / 3)


def test_categories_and_intervals():
    rows = [record([-1, -2 + 2 * (i % 2)], [1, 0], "MC1", category="law" if i < 6 else "food") for i in range(12)]
    found = multiple_choice.summarise(rows, 500, 0)["MC1"]
    assert found["all"]["value"] == 0.5
    assert 0 < found["all"]["low"] < 0.5 < found["all"]["high"] < 1
    assert {c: of["rows"] for c, of in found["by_category"].items()} == {"food": 6, "law": 6}
    assert "MC2" not in multiple_choice.summarise(rows, 100, 0)
