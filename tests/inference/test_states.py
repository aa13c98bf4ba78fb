"""Tests mean states: packed as alone, whatever shares the row, in both kinds of backbone."""

import numpy as np
import pytest

from moral_jax.inference import states
from moral_jax.respondents.embedder import _cut
from tests.helpers import tiny

IDS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14], [5, 6, 8, 15]]


@pytest.mark.parametrize("of", [tiny.encoder_spec(), tiny.spec()], ids=["encoder", "decoder"])
def test_a_text_has_the_mean_of_its_own_states_however_it_is_packed(of, monkeypatch):
    model = tiny.model(of)
    params = tiny.params(model)
    packed = states.mean_states(model, params, IDS, length=16, rows=1, what="texts")
    monkeypatch.setattr(states, "MOST_TEXTS", 1)  # a row for each
    alone = states.mean_states(model, params, [*IDS, IDS[0][::-1]], length=16, rows=1, what="texts")
    assert packed.shape == (4, of.width)
    np.testing.assert_allclose(packed, alone[:4], atol=2e-5)
    assert np.abs(alone[4] - packed[0]).max() > 0.01  # states are read in context, not tokens alone
    assert np.abs(packed[1] - packed[2]).max() > 0.1


def test_a_long_text_loses_its_middle():
    assert _cut(list(range(9)), 5) == [0, 1, 2, 7, 8]
    assert _cut(list(range(5)), 5) == [0, 1, 2, 3, 4]
    assert _cut([1, 2, 3], 1) == [1]
