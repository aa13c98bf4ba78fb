"""Lists of the keys that blocks of queries see: all of them, and few."""

import dataclasses

import numpy as np
import pytest

from moral_jax.config.train import DataConfig
from moral_jax.data import blocks, layout, pipeline
from moral_jax.data.encode import Encoded
from moral_jax.data.tokens import Text
from moral_jax.models.mask import visible
from moral_jax.models.spec import AttentionPattern
from moral_jax.types import Example

DATA = DataConfig(length=512)


def questions(is_encoder=False, longest=60, texts=1, count=60):
    """Questions about a few things, in two orders each: they share a beginning, and those of one thing share more."""
    rng = np.random.default_rng(0)
    encoded = []
    for item in range(count):
        about = np.random.default_rng(item // 2).integers(1, 90, longest // 3)
        begin = np.r_[np.arange(1, 8), about]
        made = [np.r_[begin, 90 + i, rng.integers(1, 90, rng.integers(1, longest - len(begin)))] for i in range(texts)]
        encoded.append(Encoded(tuple(Text(t.astype(np.int32), 0 * t) for t in made), ((0,), (1,))))
    examples = [Example(str(i), "", ("a", "b"), (1.0, 1.0)) for i in range(count)]
    items = [(i, (0, 1)) for i in range(count)]
    return layout.Questions(examples, items, encoded, 0, is_encoder)


def batches_of(of, data=DATA):
    shape = layout.shape_of([of], data, 2, 2, lists_keys=True)
    return pipeline.scoring_batches(of, shape, range(2), 1), shape


@pytest.mark.parametrize(("is_encoder", "texts"), [(False, 1), (False, 2), (True, 1), (True, 2)])
def test_every_key_that_is_seen_is_listed_once(is_encoder, texts):
    batches, shape = batches_of(questions(is_encoder, longest=40 if is_encoder else 60, texts=texts))
    assert 0 < shape.keys < 256
    for batch in (batches[i] for i in range(len(batches))):
        tokens, T = batch.tokens, 512
        assert tokens.keys_BJU.shape == (2, T // blocks.QUERIES, shape.keys)
        real = tokens.segments_BT > 0
        mask = np.asarray(visible(tokens, AttentionPattern(not is_encoder, None), slice(0, T)))
        mask = mask & real[:, :, None]
        for b, j in np.ndindex(*tokens.keys_BJU.shape[:2]):
            listed = tokens.keys_BJU[b, j]
            seen = np.flatnonzero(mask[b, j * blocks.QUERIES :][: blocks.QUERIES].any(0))
            np.testing.assert_array_equal(listed[listed >= 0], seen)


def test_lists_are_made_where_they_pay():
    short, long = questions(), questions(longest=300)
    assert batches_of(short)[1].keys == 64 + 64
    assert batches_of(long)[1].keys == 0
    assert batches_of(long)[0][0].tokens.keys_BJU is None
    assert batches_of(long, dataclasses.replace(DATA, length=2048))[1].keys > 0
    odd = dataclasses.replace(DATA, length=500)  # blocks do not fill it
    assert batches_of(short, odd)[1].keys == 0
    assert layout.shape_of([short], DATA, 2, 2).keys == 0
    assert layout.shape_of_few(questions(count=3), batches_of(short)[1], 1).keys == 0  # of a few shapes only
