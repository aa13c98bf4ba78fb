"""From listed tokens to shares: by hand, with what is not listed bounded."""

import json
import math

import numpy as np
import pytest

from moral_jax.analysis import bounds
from moral_jax.analysis.table import from_records
from moral_jax.respondents.api import replies
from moral_jax.runs import records
from moral_jax.types import UserError
from tests.respondents import api_stub as stub

AB = (("A", " A"), ("B", " B"))


def top(**listed):
    return [(token.replace("_", " "), math.log(p)) for token, p in listed.items()]


def test_spellings_are_summed_and_the_rest_is_bounded():
    b = replies.bounded(top(A=0.5, _A=0.1, B=0.2, The=0.05), AB)
    np.testing.assert_allclose(b.mass_C, [0.6, 0.2])
    assert b.missing == pytest.approx(0.15)
    assert b.unseen == []
    # " B" alone is not listed: it has at most 0.05, the least that is
    np.testing.assert_allclose(b.low_C, [0.6 / 0.85, 0.2 / 0.8])
    np.testing.assert_allclose(b.high_C, [0.6 / 0.8, 0.25 / 0.85])


def test_an_option_that_is_not_listed_has_half_of_what_it_could_have():
    b = replies.bounded(top(A=0.9, The=0.04), AB)
    assert b.unseen == [1]
    np.testing.assert_allclose(b.mass_C, [0.9, 0.02])  # at most 0.04 for a token
    b = replies.bounded(top(A=0.9, The=0.09), AB)
    np.testing.assert_allclose(b.mass_C, [0.9, 0.005])  # at most 0.01 for all that is not listed
    np.testing.assert_allclose(b.low_C, [0.9 / 0.91, 0])
    np.testing.assert_allclose(b.high_C, [1, 0.01 / 0.91])


def test_what_others_can_have_is_no_more_than_what_is_missing():
    """Three options with an unlisted spelling each, of 0.1 at most, and 0.1 that no listed token has."""
    b = replies.bounded(top(A=0.5, B=0.2, C=0.1, The=0.1), (*AB, ("C", " C")))
    assert b.missing == pytest.approx(0.1)
    np.testing.assert_allclose(b.low_C, [0.5 / 0.9, 0.2 / 0.9, 0.1 / 0.9])
    np.testing.assert_allclose(b.high_C, [0.6 / 0.9, 0.3 / 0.9, 0.2 / 0.9])


def test_the_truth_lies_within_the_bounds():
    """Cuts true distributions after their k likeliest tokens."""
    rng = np.random.default_rng(0)
    names = ["A", " A", "B", " B", "C", " C", *(f"t{i}" for i in range(30))]
    answers = (("A", " A"), ("B", " B"), ("C", " C"))
    for _ in range(300):
        p = rng.dirichlet(np.full(len(names), 0.15))
        truth = p[:6].reshape(3, 2).sum(-1) / p[:6].sum()
        order = np.argsort(-p)[: rng.integers(2, 12)]
        b = replies.bounded([(names[i], math.log(max(p[i], 1e-40))) for i in order], answers)
        assert (b.low_C <= truth + 1e-6).all(), (b, truth)
        assert (truth <= b.high_C + 1e-6).all(), (b, truth)
        share = b.mass_C / b.mass_C.sum()
        assert ((b.low_C <= share + 1e-9) & (share <= b.high_C + 1e-9)).all()


def test_nothing_listed_is_even_and_says_nothing():
    b = replies.bounded(top(The=0.7, I=0.2), AB)
    np.testing.assert_allclose(b.mass_C, [0.05 / 2, 0.05 / 2])
    np.testing.assert_array_equal(b.low_C, [0, 0])
    np.testing.assert_array_equal(b.high_C, [1, 1])


def test_rounding_and_sentinels():
    """Probabilities that sum to more than one, and OpenAI's -9999, leave a millionth open and no zero behind."""
    b = replies.bounded([("A", 0.0), ("B", -9999.0), ("x", -9999.0)], AB)
    assert b.unseen == [1]
    np.testing.assert_allclose(b.mass_C, [1, 0.5e-6])


def test_spaces_of_vocabularies():
    np.testing.assert_allclose(replies.bounded([("▁A", math.log(0.6)), ("ĠB", math.log(0.3))], AB).mass_C, [0.6, 0.3])


@pytest.mark.parametrize(("endpoint", "make"), [("chat", stub.chat), ("completions", stub.completions)])
def test_replies_are_read_and_survive_the_disk(endpoint, make):
    body = {"messages": [{"content": "x"}]} if endpoint == "chat" else {"prompt": "x"}
    reply = replies.parse(make(body), endpoint)
    assert sorted(reply.top) == sorted(stub.top("x"))
    again = replies.Reply(*json.loads(json.dumps(reply)))
    np.testing.assert_array_equal(replies.bounded(again.top, AB).mass_C, replies.bounded(reply.top, AB).mass_C)


def test_the_drawn_token_is_listed_too():
    reply = stub.chat({"messages": [{"content": "x"}]})
    reply["choices"][0]["logprobs"]["content"][0] |= {"token": "rare", "logprob": -7.0}
    assert ("rare", -7.0) in replies.parse(reply, "chat").top


def test_parts_of_characters_may_look_alike_and_sums_are_rounded():
    reply = stub.chat({"messages": [{"content": "x"}]})
    top = [{"token": t, "logprob": p} for t, p in [("A", -0.01), ("\ufffd", -5.3), ("\ufffd", -5.3)]]
    reply["choices"][0]["logprobs"]["content"][0] |= {"token": "A", "logprob": -0.01, "top_logprobs": top}
    assert sum(math.exp(p) for _, p in replies.parse(reply, "chat").top) > 1


@pytest.mark.parametrize(
    "logprobs",
    [None, {}, {"content": None}, {"content": []}, {"content": [{"token": "A", "logprob": None, "top_logprobs": []}]},
     {"content": [{"token": "A", "logprob": float("nan"), "top_logprobs": []}]},
     {"content": [{"token": "A", "logprob": 3.0, "top_logprobs": []}]}],
)  # fmt: skip
def test_no_log_probabilities_is_said(logprobs):
    with pytest.raises(UserError, match="holds no log-probabilities"):
        replies.parse({"choices": [{"logprobs": logprobs}]}, "chat")


def record(low, high, p, counts, unseen=()):
    return {
        "options": ["a", "b"], "counts": counts, "probabilities": p, "concentration": 2.0, "low": low, "high": high,
        "missing_mass": 0.1, "orders": [{"unseen": list(unseen)}],
    }  # fmt: skip


def test_bounds_of_cross_entropy_by_hand():
    rows = [record([0.5, 0.3], [0.7, 0.5], [0.6, 0.4], [1, 1]), record([0.9, 0], [1, 0.1], [0.95, 0.05], [4, 1], [1])]
    b = bounds.bounds(rows, from_records(rows))
    assert b["unseen"] == b["unbounded"] == 1
    assert b["missing_mass"] == pytest.approx(0.1)
    high = -(np.log(0.5) + np.log(0.3)) / 2  # the second row's has no bound
    entropy = -(0.8 * np.log(0.8) + 0.2 * np.log(0.2))
    low = [max(np.log(2), -(np.log(0.7) + np.log(0.5)) / 2), max(entropy, -(0.8 * np.log(1) + 0.2 * np.log(0.1)))]
    assert b["cross_entropy"]["high"] == pytest.approx(high)
    assert b["cross_entropy"]["low"] == pytest.approx(np.mean(low))
    assert records.entropy(np.array([0.8, 0.2])) == pytest.approx(entropy)
    del rows[0]["low"]
    assert bounds.bounds(rows, from_records(rows)) is None
