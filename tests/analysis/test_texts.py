"""Numbers on texts by hand."""

import numpy as np
import pytest

from moral_jax.analysis import texts


def record(name, logp, tokens, counts=(1, 0), **groups):
    return {
        "id": name, "texts": ["a", "b"][: len(logp)], "logp": list(logp), "tokens": list(tokens),
        "counts": list(counts)[: len(logp)], "keys": [], "groups": groups, "prompt": "",
    }  # fmt: skip


def values(records, first=None, beta=None):
    found = texts.summarise(records, first, beta, 200, 0)
    return {name: e["value"] for name, e in found["metrics"].items()}, found


def test_tokens_weigh_alike_and_not_texts():
    got, found = values([record("1", [-3.0], [2]), record("2", [-1.0], [6])])
    assert got == {"nll_per_token": 0.5, "perplexity": pytest.approx(np.exp(0.5)), "tokens": 4.0}
    assert not found["compared"]


def test_preferences():
    before = [record("1", [-13.0, -14.5], [6, 10]), record("2", [-5.0, -4.0], [5, 5])]
    after = [record("1", [-12.0, -15.0], [6, 10]), record("2", [-6.0, -4.5], [5, 5])]
    got, _ = values(after, before, beta=0.1)
    assert got["likelihood_accuracy"] == 0.5
    assert got["reward_accuracy"] == 0.5
    assert got["reward_margin"] == pytest.approx((0.15 - 0.05) / 2)
    assert got["chosen_reward"] == pytest.approx((0.1 - 0.1) / 2)
    assert got["nll_per_token"] == pytest.approx(18 / 11)
    assert got["rejected_nll_per_token"] == pytest.approx(19.5 / 15)


def test_votes_weigh_texts_and_ties_have_no_accuracy():
    got, _ = values([record("1", [-2.0, -4.0], [1, 1], counts=(3, 1))])
    assert got["nll_per_token"] == pytest.approx(2.5)
    assert got["likelihood_accuracy"] == 1.0
    got, _ = values([record("1", [-2.0, -4.0], [1, 1], counts=(2, 2))])
    assert "likelihood_accuracy" not in got


def test_equal_likelihoods_count_half():
    got, _ = values([record("1", [-2.0, -2.0], [1, 1])])
    assert got["likelihood_accuracy"] == 0.5


def test_subsets():
    rows = [record(str(i), [-float(i)], [1], domain="a" if i % 2 else "b") for i in range(12)]
    _, found = values(rows)
    assert found["groups"]["domain"]["a"]["nll_per_token"]["value"] == pytest.approx(6.0)
    assert found["groups"]["domain"]["b"]["rows"] == 6


def test_rows_that_share_a_key_make_intervals_wider():
    rng = np.random.default_rng(0)
    level = np.repeat(rng.normal(-5, 2, 20), 4)
    rows = [record(str(i), [x], [1]) | {"keys": [f"k{i // 4}"]} for i, x in enumerate(level)]
    alone = [r | {"keys": []} for r in rows]
    wide, narrow = (texts.summarise(r, None, None, 500, 0)["metrics"]["nll_per_token"] for r in (rows, alone))
    assert wide["high"] - wide["low"] > 1.6 * (narrow["high"] - narrow["low"])


def test_the_most_surprising_rows_are_not_the_shortest():
    rows = [record(str(i), [-10.0 * (i + 1)], [10]) for i in range(20)] + [record("short", [-30.0], [1])]
    assert texts.summarise(rows, None, None, 100, 0)["surprising"][0] == "19"


def test_differences_are_paired():
    before = [record(str(i), [-float(i)], [1]) for i in range(1, 11)]
    after = [r | {"logp": [r["logp"][0] + 0.5]} for r in before]
    d = texts.compare(before, after, 200, 0)["nll_per_token"]
    assert (d["value"], d["low"], d["high"]) == pytest.approx((-0.5, -0.5, -0.5))
