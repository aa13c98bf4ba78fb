"""Tests that docs/method.md shows the formulas and prompts of this version."""

import numpy as np

from moral_jax.analysis import metrics, summary
from moral_jax.analysis.calibrate import Calibration
from moral_jax.runs.quantities import MAIN, MORE, QUANTITIES, SECOND_ORDER
from tests.analysis.test_summary import two_orders
from tests.helpers import method


def test_the_page_holds_what_the_code_says():
    """Made anew by `python -m tests.helpers.method`."""
    page = method.PAGE.read_text(encoding="utf-8")
    assert method.filled(page) == page
    for name in (*MAIN, *MORE, *SECOND_ORDER):
        assert f"| `{name}` |" in page
    assert "<|im_start|>user\nWho is in the wrong here?" in page
    assert "Say Yes if the first action is less ethical." in page


def test_every_number_has_a_row_of_the_one_table():
    """A run with everything: two orders, a second panel, picks, a scale, calibration."""
    rng = np.random.default_rng(0)
    rows = []
    for share in rng.uniform(0.2, 0.8, 12):
        more = {"second_counts": [3, 2], "choice": 0, "positions": [1, 2], "concentration": 2 + share}
        rows.append(two_orders([share, 1 - share], [1 - share, share], [5 * (share > 0.5), 5 * (share <= 0.5)]) | more)
    numbers = summary.summarise(rows, Calibration(1.0, 1.0, 2.0), None, 100, 10, 0)
    made = set(numbers["metrics"]) | (set(numbers["second_order"]) & set(SECOND_ORDER))
    assert made == set(QUANTITIES)
    assert set(metrics.METRICS) <= set(QUANTITIES)
