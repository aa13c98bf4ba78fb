"""People of the first panel are compared with the second panel of the same row, wherever rows without one lie."""

import numpy as np
import pytest

from moral_jax.analysis import summary
from moral_jax.runs.records import Asks, Choices, make_records
from moral_jax.types import Example


def summarised(examples, p_EC):
    said = Choices(np.log(p_EC), None, np.zeros(len(examples)))
    records = make_records(Asks(examples, [(i, (0, 1)) for i in range(len(examples))]), said)
    return summary.summarise(records, None, None, resamples=50, draws=1, seed=0)["metrics"]


@pytest.mark.parametrize("at", range(9))
def test_a_row_without_a_second_panel_changes_nothing(at):
    """Nine votes each, so that none is tied; model, first and second panel agree on other rows."""
    first, second, p = [9, 2, 6, 1, 8, 7, 3, 5], [8, 6, 4, 2, 9, 1, 2, 7], [0.8, 0.3, 0.6, 0.7, 0.1, 0.9, 0.2, 0.4]
    rows = [
        Example(str(i), "?", ("a", "b"), (a, 9.0 - a), second_counts=(b, 9.0 - b))
        for i, (a, b) in enumerate(zip(map(float, first), map(float, second), strict=True))
    ]
    shares = [[x, 1 - x] for x in p]
    want = summarised(rows, shares)
    without = Example("without", "?", ("a", "b"), (1.0, 8.0) if at % 2 else (8.0, 1.0))
    got = summarised([*rows[:at], without, *rows[at:]], [*shares[:at], [0.5, 0.5], *shares[at:]])
    for name, value in {"second_panel_agreement": 2 / 8, "second_panel_people": 5 / 8}.items():
        assert got[name] == want[name]
        assert got[name]["value"] == pytest.approx(value)
