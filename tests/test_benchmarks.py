"""Tests how benchmarks let competitors work in turns."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="benchmarks read /proc")


class Fake:
    """A worker that answers at once, and says how long it took."""

    def __init__(self, name, seconds, asked):
        self.name, self.seconds, self.asked, self.about = name, seconds, asked, {"name": name}

    def ask(self, do):
        self.asked.append((self.name, do))
        return {"questions": 4, "tokens": 8, "seconds": self.seconds} if do == "piece" else 0.5

    def busy(self):
        return 0.0

    def age(self):
        return 1.0

    def peak_gib(self):
        return 2.0


def test_who_begins_a_round_changes(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    contest, asked = importlib.import_module("contest"), []
    found = contest.race({name: Fake(name, s, asked) for name, s in (("ours", 1.0), ("theirs", 3.0))}, rounds=2)
    assert asked == [("ours", "first"), ("theirs", "first"), ("ours", "piece"), ("theirs", "piece"),
                     ("theirs", "piece"), ("ours", "piece")]  # fmt: skip
    assert found["ours"]["questions_per_second"] == 4.0
    assert found["theirs"]["peak_gib"] == 2.0
    assert found["theirs"]["ours_is_faster_by"] == {"median": 3.0, "lowest": 3.0, "highest": 3.0}
