"""Losses on tokens: every token weighs the same, however texts and micro-batches divide them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax import objectives
from moral_jax.types import Batch, Texts, TextScores


class Read:
    """A read-out of given log-probabilities of tokens [A], each a text of its own."""

    def __init__(self, logp):
        self.logp_BA = jnp.asarray(logp)[None]

    def logp(self, _):
        return self.logp_BA

    def texts(self):
        return TextScores(self.logp_BA[None], jnp.ones_like(self.logp_BA)[None])


def batch_of(tokens):
    one_BA = np.ones((1, tokens), np.float32)
    each_BA = np.arange(tokens, dtype=np.int32)[None]
    return Batch(None, Texts(one_BA, one_BA, each_BA, one_BA, one_BA[None], one_BA, one_BA, {}, {}))


def test_micro_batches_add_up():
    """Sums 3.0 of two tokens and 1.0 of six: 0.5 a token, where the mean of means would be 0.8333."""
    parts = [objectives.get("sft").loss(Read(-np.full(n, total / n)), batch_of(n)) for total, n in ((3.0, 2), (1.0, 6))]
    sums, weights = (sum(float(part["loss"][i]) for part in parts) for i in (0, 1))
    assert sums / weights == pytest.approx(0.5)


def test_dft():
    found = objectives.get("dft").loss(Read(np.log([0.5])), batch_of(1))
    assert float(found["loss"][0]) == pytest.approx(0.346574, rel=1e-5)
    assert float(found["nll"][0]) == pytest.approx(np.log(2), rel=1e-6)


def test_the_gradient_of_dft_takes_p_for_a_constant():
    grad = jax.grad(lambda x: objectives.get("dft").loss(Read(x), batch_of(1))["loss"][0])(jnp.log(jnp.array([0.5])))
    assert float(grad[0]) == pytest.approx(-0.5)


@pytest.mark.parametrize("name", ["sft", "dft"])
def test_a_text_weighs_what_its_row_says(name):
    """Two texts of one token: log p -1 with weight 3, log p -2 with weight 1."""
    batch = batch_of(2)
    counts, which = np.array([[[3.0, 1.0]]], np.float32), np.array([[0, 1]], np.int32)
    asks = batch.asks._replace(counts_BQC=counts, text_of_BA=which)
    found = objectives.get(name).loss(Read([-1.0, -2.0]), batch._replace(asks=asks))
    total, weight = found["loss" if name == "sft" else "nll"]
    assert (float(total), float(weight)) == (5.0, 4.0)
