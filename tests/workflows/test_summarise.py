"""From records to numbers: which rows are reported, and what they are calibrated on."""

import json

import numpy as np
import pytest

from moral_jax.analysis.calibrate import Calibration
from moral_jax.config import Config
from moral_jax.config.evaluate import EvalConfig
from moral_jax.runs.records import Asks, Choices, make_records, read_jsonl
from moral_jax.types import Example
from moral_jax.workflows import summarise

CONFIG = Config(eval=EvalConfig(bootstrap=100, best_draws=10))
OTHER = Calibration(temperature=3.0, concentration_factor=0.2, fixed_concentration=5.0)


def records(name, seed):
    """Twelve rows; no two splits hold the same."""
    rng = np.random.default_rng(seed)
    asked = [Example(f"{name} {i}", "?", ("a", "b"), (float(i % 7), 7.0 - i % 7)) for i in range(12)]
    said = Choices(np.log(rng.dirichlet([2, 2], 12)), np.log(np.full(12, 0.5)), np.log(np.full(12, 4.0)))
    return make_records(Asks(asked, [(i, (0, 1)) for i in range(12)]), said)


def metrics(folder, splits, calibration=None):
    rows = {name: records(name, seed) for seed, name in enumerate(splits)}
    reported = summarise.write_metrics(folder, rows, calibration, None, CONFIG)
    numbers = json.loads((folder / "metrics.json").read_text())
    assert numbers["split"] == reported
    assert [r["id"] for r in read_jsonl(folder / f"{reported}.jsonl")] == [r["id"] for r in rows[reported]]
    return numbers, rows


@pytest.mark.parametrize("given", [None, OTHER])
def test_rows_that_would_be_calibrated_on_themselves_are_not(tmp_path, given):
    numbers, _ = metrics(tmp_path, ["validation"], given)
    assert (numbers["split"], numbers["calibration"]) == ("validation", None)
    assert not [name for name in numbers["metrics"] if name.startswith("calibrated")]


def test_test_rows_are_calibrated_on_validation_rows(tmp_path):
    numbers, rows = metrics(tmp_path, ["validation", "test"])
    assert numbers["split"] == "test"
    assert numbers["calibration"] == summarise.calibration_of(rows["validation"])._asdict()
    assert "calibrated_cross_entropy" in numbers["metrics"]


def test_other_rows_are_calibrated_as_they_were_given_to_be_or_not_at_all(tmp_path):
    assert metrics(tmp_path, ["rows"])[0]["calibration"] is None
    assert metrics(tmp_path, ["rows"], OTHER)[0]["calibration"] == OTHER._asdict()
