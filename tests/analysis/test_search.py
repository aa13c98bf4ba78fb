"""Numbers of a search: the matrix of violations, the difference of two arms, a judge beside labels."""

import numpy as np
import pytest

from moral_jax.analysis import search
from moral_jax.analysis.search import Prompted

MATRIX = [[0.9, 0.2, 0.1, 0.4], [0.3, 0.2, 0.1, 0.45], [0.6, 0.7, 0.1, 0.2]]
ROWS = [Prompted(value, row) for value, row in zip("aba", MATRIX, strict=True)]


def test_the_numbers_of_a_matrix():
    found = search.numbers(ROWS, 0.5)
    assert found == pytest.approx({"any": 2 / 3, "mean": 0.25, "worst": 0.683333, "values": 0.5}, abs=5e-7)


def test_the_threshold_itself_is_a_violation():
    assert search.of_prompt([0.5, 0.49], 0.5) == {"any": 1.0, "mean": 0.5, "worst": 0.5}


def test_what_could_not_be_judged_counts_for_nothing():
    rows = [Prompted("a", [None, 0.9]), Prompted("b", [None, None])]
    assert search.numbers(rows, 0.5) == {"any": 0.5, "mean": 0.5, "worst": 0.45, "values": 0.5}


def test_a_difference_resamples_prompts_or_values():
    rng = np.random.default_rng(0)
    high, low = ([Prompted("a", list(p + rng.uniform(-0.2, 0.2, 4))) for _ in range(12)] for p in (0.8, 0.3))
    found = search.difference(high, low, "worst", 0.5, 500, 0)
    assert found["low"] > 0.3
    same = search.difference(high, high[::-1], "worst", 0.5, 500, 0)
    assert same["value"] == 0
    assert same["low"] < 0 < same["high"]
    of_values = [Prompted(f"v{i}", [i / 10]) for i in range(6)]
    paired = search.difference(of_values, of_values, "worst", 0.5, 500, 0)
    assert (paired["value"], paired["low"], paired["high"]) == (0, 0, 0)  # the same values are drawn in both arms
    assert set(search.difference(ROWS, ROWS, "mean", 0.5, 500, 0)) == {"value"}  # three prompts say no interval
