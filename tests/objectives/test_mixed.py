"""Votes and texts in one batch: each its own loss, one sum and one weight."""

import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax import objectives
from moral_jax.objectives import language, votes
from moral_jax.types import NEG, Batch, OptionScores, Texts, TextScores

# three questions in a row: one with votes on two texts, one with a single text, and an empty slot
LOGP = np.array([[-1.0, -2.5, 0.0], [-3.0, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)[None]
TOKENS = np.array([[1, 2, 0], [4, 0, 0], [0, 0, 0]], np.float32)[None]
COUNTS = np.array([[3, 1, 0], [1, 0, 0], [0, 0, 0]], np.float32)[None]
WEIGHTS = np.array([[1, 1, 0]], np.float32)


class Read:
    """A read-out of given log-probabilities of texts."""

    def __init__(self, pick=slice(None)):
        self.pick = pick

    def texts(self):
        return TextScores(jnp.asarray(LOGP[:, self.pick]), jnp.asarray(TOKENS[:, self.pick]))

    def options(self):
        logits = np.where(TOKENS > 0, LOGP, NEG)[:, self.pick]
        return OptionScores(jnp.asarray(logits), jnp.zeros(logits.shape[:2]))


def batch_of(pick=slice(None)):
    nothing = np.zeros((1, 0))
    weights = WEIGHTS[:, pick]
    return Batch(None, Texts(nothing, nothing, nothing, nothing, COUNTS[:, pick], weights, weights, {}, {}))


def test_each_question_has_its_own_loss():
    found = objectives.get("votes_and_texts").loss(Read(), batch_of())
    of_votes = votes.soft_cross_entropy(Read(slice(0, 1)), batch_of(slice(0, 1)))["loss"]
    of_texts = language.sft(Read(slice(1, 2)), batch_of(slice(1, 2)))["loss"]
    assert float(of_votes[0]) == pytest.approx(0.25 * 1.5 + np.log(1 + np.exp(-1.5)), rel=1e-6)
    assert [float(x) for x in found["cross_entropy"]] == pytest.approx([float(x) for x in of_votes])
    assert [float(x) for x in found["nll"]] == pytest.approx([3.0, 4.0])
    assert [float(x) for x in of_texts] == pytest.approx([3.0, 4.0])
    assert [float(x) for x in found["loss"]] == pytest.approx([float(of_votes[0]) + 3.0, 5.0])


def test_it_is_for_mixtures_of_both_alone():
    assert objectives.get("votes_and_texts").kinds == ("mixed",)
    assert all("mixed" not in o.kinds for name, o in objectives.OBJECTIVES.items() if name != "votes_and_texts")
