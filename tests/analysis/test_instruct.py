"""What an instruction is worth, and what it costs."""

import math

import pytest

from moral_jax.analysis import instruct


def test_the_weight_is_compliance_times_fluency():
    logp = [(4 * math.log(0.5), 4), (4 * math.log(0.125), 4)]  # 0.25 a token
    assert instruct.weight([0.0, 0.5], logp) == pytest.approx(0.75 * 0.25)
    assert instruct.weight([1.0, 1.0], logp) == 0.0
    assert instruct.weight([None, 0.0], logp) == pytest.approx(0.25)
    assert instruct.weight([None, None], logp) == 0.0


def test_the_means_of_completions():
    logp = [(2 * math.log(0.5), 2), (2 * math.log(0.125), 2)]
    found = instruct.answered([0.9, 0.1, None], logp, ["a b c", "a", ""], [1.0, 0.0, 0.0], 0.5)
    assert found.violation == 0.5
    assert found.nll == pytest.approx(math.log(4))
    assert (found.words, found.refusals) == (4 / 3, pytest.approx(1 / 3))


def test_ways_are_compared_prompt_by_prompt():
    none = [instruct.Answered(v, 1.0, 4.0, 0.0) for v in (1.0, 0.75, 0.5, 1.0, 0.75, 0.5)]
    better = [a._replace(violation=a.violation - 0.5, nll=a.nll + 0.5, words=5.0) for a in none]
    found = instruct.compare({"none": none, "some": better}, 200, 0)
    assert found["none"]["less"] == {}
    assert found["some"]["numbers"] == pytest.approx(
        {"violation": 0.25, "perplexity": math.exp(1.5), "words": 5.0, "refusals": 0.0}
    )
    less = found["some"]["less"]
    assert less["violation"] == pytest.approx({"value": -0.5, "low": -0.5, "high": -0.5})
    assert less["nll"]["value"] == pytest.approx(0.5)
