"""What the pictures draw, before it is drawn."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from moral_jax.report import plots
from moral_jax.report.source import Source


@pytest.fixture
def drawn(monkeypatch):
    """The axes of the last picture."""
    axes = Figure().add_subplot()
    monkeypatch.setattr(plots, "svg", lambda draw: draw(axes))
    return axes


def lines(axes):
    return {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in axes.lines}


def test_a_mean_stands_at_the_last_of_its_steps(drawn):
    """Of a loss that falls by one a step, the mean of five steps is that of two steps ago."""
    steps = np.arange(11, 111)
    trace = [{"step": int(s), "kind": "train", "loss": 1000.0 - s} for s in steps]
    trace += [{"step": 60, "kind": "validation", "loss": 7.0}]
    plots.curves(Source("run", stages=[], comparison={}, trace=trace, config={}, provenance={}))
    found = lines(drawn)
    np.testing.assert_array_equal(found["each step"], (steps, 1000.0 - steps))
    mean_at, means = found["mean of 5 steps"]
    np.testing.assert_array_equal(mean_at, steps[4:])
    np.testing.assert_allclose(means, 1000.0 - (mean_at - 2))
    assert [list(values) for values in found["validation"]] == [[60], [7.0]]
