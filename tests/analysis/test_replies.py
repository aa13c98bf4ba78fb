"""Numbers on replies by hand."""

import numpy as np
import pytest

from moral_jax.analysis import replies


def record(name, *rewards, tokens=4, reason="end", parts=("a",), **groups):
    of_each = [
        {"text": "x", "reason": reason, "tokens": tokens, "reward": r, "rewards": dict.fromkeys(parts, r)}
        for r in rewards
    ]
    return {"id": name, "prompt": "", "keys": [], "groups": groups, "replies": of_each}


def values(records):
    found = replies.summarise(records, 200, 0)
    return {name: e["value"] for name, e in found["metrics"].items()}, found


def test_prompts_weigh_alike_whatever_the_number_of_replies():
    got, found = values([record("1", 1.0, 0.0, 0.5), record("2", 2.0, reason="length", tokens=8)])
    assert got == {"reward": 1.25, "unknown": 0.0, "tokens": 6.0, "finished": 0.5}
    assert found["rows"] == 2
    assert "low" not in found["metrics"]["reward"], "too few prompts for an interval"


@pytest.mark.parametrize(("reason", "finished"), [("end", 1.0), ("stop", 1.0), ("length", 0.0)])
def test_a_reply_is_finished_unless_it_is_cut(reason, finished):
    assert values([record("1", 1.0, reason=reason)])[0]["finished"] == finished


def test_replies_without_a_reward_are_left_out_and_counted():
    got, _ = values([record("1", None, 3.0), record("2", None, None), record("3", 1.0)])
    assert got["reward"] == 2.0
    assert got["unknown"] == pytest.approx((0.5 + 1 + 0) / 3)


def test_parts_of_a_reward_have_numbers_of_their_own():
    got, _ = values([record("1", 1.0, 3.0, parts=("run:a", "finished"))])
    assert (got["reward/run:a"], got["reward/finished"]) == (2.0, 2.0)
    assert "reward/a" not in values([record("1", 1.0)])[0], "one reward is the reward"
    assert replies.quantity("reward/run:a").label == "run:a"


def test_differences_are_paired():
    rng = np.random.default_rng(0)
    level = rng.normal(size=40)
    before, after = ([record(f"{i}", x + more) for i, x in enumerate(level)] for more in (0.0, 0.1))
    found = replies.compare(before, after, 200, 0)["reward"]
    assert found["value"] == pytest.approx(0.1)
    assert found["high"] - found["low"] < 1e-9, "what prompts have in common cancels"


def test_subsets_of_enough_prompts():
    records = [record(f"{i}", float(i % 2), topic="odd" if i % 2 else "even") for i in range(20)]
    _, found = values(records)
    assert {k: v["reward"]["value"] for k, v in found["groups"]["topic"].items()} == {"even": 0.0, "odd": 1.0}
