"""Rows whose options have no places, such as chosen before rejected: no yardstick may know what is named first."""

import numpy as np
import pytest

from moral_jax.analysis import summary


def record(counts, p):
    return {
        "options": [str(i) for i in range(len(p))], "counts": counts, "second_counts": None, "groups": {}, "keys": [],
        "probabilities": p, "option_mass": None, "entropy": 0.5, "concentration": 2.0,
        "orders": [{"order": list(range(len(p))), "probabilities": p, "log_mass": None, "log_concentration": 0.7}],
    }  # fmt: skip


def rows(counts, *, exchangeable, seed=0):
    """Random predictions for rows with these votes."""
    rng = np.random.default_rng(seed)
    out = []
    for votes in counts:
        p = rng.dirichlet(np.ones(len(votes)) * 3)
        out.append(record(list(votes), p.tolist()) | {"exchangeable": exchangeable})
    return out


def numbers(records):
    return summary.summarise(records, None, None, resamples=50, draws=20, seed=0)


def test_no_constant_knows_that_the_first_is_chosen():
    pairs = [(1, 0)] * 40
    found, told = (numbers(rows(pairs, exchangeable=e)) for e in (True, False))
    assert told["yardsticks"]["best constant"]["cross_entropy"] == pytest.approx(0, abs=1e-6)
    assert found["yardsticks"]["best constant"]["cross_entropy"] == pytest.approx(np.log(2))
    assert found["yardsticks"]["best constant"]["accuracy"] == pytest.approx(0.5)
    assert {"macro_f1", "share_correlation"} <= told["metrics"].keys()
    assert not {"macro_f1", "share_correlation"} & found["metrics"].keys()


def test_one_vote_a_row_says_nothing_of_the_true_shares():
    found = numbers(rows([(1, 0), (0, 1)] * 20, exchangeable=False))
    assert "BEST" not in found["yardsticks"]
    assert "BEST" not in found["against"]
    assert "way_to_true_shares" not in found["metrics"]
    assert found["second_order"] is None
    assert "BEST" in numbers(rows([(1, 0), (1, 1)] * 20, exchangeable=False))["yardsticks"]


def test_two_stages_are_compared_where_some_metrics_have_no_meaning():
    before, after = (rows([(1, 0)] * 40, exchangeable=True, seed=seed) for seed in (0, 1))
    found = summary.compare(before, after, 50, 0)
    assert set(found) == {"cross_entropy", "dirichlet_nll", "total_variation", "accuracy"}


@pytest.mark.parametrize("counts", [[(5, 1), (4, 2), (6, 0)] * 20, [(3, 1, 1), (5, 0, 0), (4, 1, 0)] * 20])
def test_an_order_that_is_another_changes_no_yardstick(counts):
    """Where places say nothing, the best named first and the best named last are the same data."""
    found = [numbers(rows(c, exchangeable=True))["yardsticks"] for c in (counts, [c[::-1] for c in counts])]
    for name in ("best constant", "BEST"):
        for metric in ("cross_entropy", "dirichlet_nll"):
            assert found[0][name][metric] == pytest.approx(found[1][name][metric], rel=1e-4)
