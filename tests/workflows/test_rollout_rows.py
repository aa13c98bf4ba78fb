"""From a rollout to columns, by hand."""

import dataclasses

import numpy as np
import pytest

from moral_jax.config.rollout import RolloutConfig
from moral_jax.config.sample import SampleConfig
from moral_jax.inference.generate import Prompt
from moral_jax.respondents.sampling import Asked
from moral_jax.runs.rollouts import IDS, Line, Rollout
from moral_jax.types import ADVANTAGE, DIVISOR, OLD, OLD_VALUE, REFERENCE, RETURN, SHARE, Example
from moral_jax.workflows.rollout_rows import Needs, rows_of, with_columns

HOW = RolloutConfig(scale="none", sample=SampleConfig(n=3, max_tokens=4))
GROUPS, CRITIC = Needs(old=True, reference=True, critic=False), Needs(old=True, reference=True, critic=True)


def rollout(rewards, reasons=("end",) * 3, kl=0.0):
    """Three replies of 1, 2 and 4 tokens to one prompt."""
    lengths = (1, 2, 4)
    lines = [Line("row", n, "p", "t", why, r, {}) for n, (r, why) in enumerate(zip(rewards, reasons, strict=True))]
    tokens = {
        IDS: [np.arange(10, 10 + n, dtype=np.int32) for n in lengths],
        OLD: [np.full(n, -1.0 + kl, np.float32) for n in lengths],
        REFERENCE: [np.full(n, -1.0, np.float32) for n in lengths],
        OLD_VALUE: [np.zeros(n, np.float32) for n in lengths],
    }
    return Rollout(lines, tokens)


def columns(written, needs=GROUPS, **changes):
    examples = [Example("row", "", ("",), (1.0,))]
    asked = [Asked("p", Prompt([1, 2], 0), frozenset())]
    questions = rows_of(examples, asked, written.tokens[IDS])
    return with_columns(questions, written, dataclasses.replace(HOW, **changes), needs)


def advantages(questions):
    return [float(values_T[0]) for values_T in questions.token_columns[ADVANTAGE]]


def test_rows_hold_the_prompt_and_read_the_reply():
    questions = columns(rollout([1, 0, 0]))
    [text] = questions.encoded[2].texts
    assert text.tokens_T.tolist() == [1, 2, 10, 11, 12, 13]
    assert text.reads_T.tolist() == [False] * 2 + [True] * 4
    assert questions.items == [(0, (0,))] * 3
    assert [len(values_T) for values_T in questions.token_columns[ADVANTAGE]] == [1, 2, 4]


@pytest.mark.parametrize(
    ("kind", "shares", "divisors"),
    [
        ("texts", [1, 1 / 2, 1 / 4], [1, 1, 1]),
        ("tokens", [1, 1, 1], [1, 2, 4]),
        ("fixed", [1 / 4] * 3, [1, 1, 1]),
        ("sums", [1, 1, 1], [1, 1, 1]),
    ],
)
def test_reductions_are_columns(kind, shares, divisors):
    questions = columns(rollout([1, 0, 0]), reduction=kind)
    assert [float(values_T[-1]) for values_T in questions.token_columns[SHARE]] == pytest.approx(shares)
    assert questions.columns[DIVISOR][:, 0].tolist() == divisors


def test_a_reply_without_a_reward_weighs_nothing_and_moves_no_mean():
    questions = columns(rollout([None, 3, 1]))
    assert advantages(questions) == [0, 1, -1]
    assert [float(v[0]) for v in questions.token_columns[SHARE]] == [0, 1, 1]
    assert questions.columns[DIVISOR][:, 0].tolist() == [0, 2, 4]


def test_replies_that_were_cut():
    cut = rollout([2, 2, 2], reasons=("end", "end", "length"))
    assert advantages(columns(cut, unfinished_penalty=1.0)) == pytest.approx([1 / 3, 1 / 3, -2 / 3])
    assert columns(cut).columns[DIVISOR][:, 0].tolist() == [1, 2, 4]
    dropped = columns(cut, cut="drop")
    assert dropped.columns[DIVISOR][:, 0].tolist() == [1, 2, 0]
    assert [float(v[0]) for v in dropped.token_columns[SHARE]] == [1, 1, 0]


def test_the_divergence_is_taken_from_the_reward_of_a_text():
    found = advantages(columns(rollout([0, 0, 0], kl=0.5), kl_penalty=0.1))
    assert found == pytest.approx(np.array([-0.05, -0.1, -0.2]) + 0.35 / 3)


def test_the_critic_is_given_the_divergence_token_by_token():
    questions = columns(rollout([1, 1, 1], kl=0.5), CRITIC, kl_penalty=0.1, whiten=False)
    want = [[0.95], [0.9, 0.95], [0.8, 0.85, 0.9, 0.95]]
    lambdas = [[sum(0.95**k * r for k, r in enumerate(rewards[t:])) for t in range(len(rewards))]
               for rewards in ([0.95], [-0.05, 0.95], [-0.05, -0.05, -0.05, 0.95])]  # fmt: skip
    for found, other in zip(questions.token_columns[ADVANTAGE], lambdas, strict=True):
        np.testing.assert_allclose(found, other, atol=1e-6)
    exact = columns(rollout([1, 1, 1], kl=0.5), CRITIC, kl_penalty=0.1, whiten=False, trace=1.0)
    for found, other in zip(exact.token_columns[RETURN], want, strict=True):
        np.testing.assert_allclose(found, other, atol=1e-6)
