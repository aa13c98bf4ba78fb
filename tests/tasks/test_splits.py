"""Splits: nothing shared across sides, sizes as asked, the same whatever the order of the file."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from moral_jax.tasks.splits import divide, lowest
from moral_jax.types import Example
from tests.helpers import examples as read


def row(name, *keys):
    return Example(id=str(name), question="?", options=("a", "b"), counts=(1.0, 0.0), keys=tuple(map(str, keys)))


def ids(side):
    return {e.id for e in side}


def keys(side):
    return {k for e in side for k in e.keys}


@settings(max_examples=60, deadline=None)
@given(
    edges=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=60),
    validation=st.floats(0, 0.4),
    test=st.floats(0, 0.5),
    seed=st.integers(0, 5),
)
def test_nothing_is_shared_and_order_does_not_matter(edges, validation, test, seed):
    rows = [row(i, *edge) for i, edge in enumerate(edges)]
    split = divide(rows, validation, test, seed)
    sides = [split.train, split.validation, split.test]
    assert sum(map(len, sides)) + split.dropped == len(rows)
    for a in range(3):
        for b in range(a):
            assert not keys(sides[a]) & keys(sides[b])
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert divide(shuffled, validation, test, seed) == split


def test_a_part_is_drawn_by_ids_alone_and_lies_within_every_larger_part():
    """Not the first rows of a file, which are often sorted."""
    rows = [row(i) for i in range(50)]
    shuffled = random.Random(0).sample(rows, len(rows))
    parts = [lowest(rows, count, seed=3) for count in (0, 5, 20, 50, 99)]
    assert [len(part) for part in parts] == [0, 5, 20, 50, 50]
    assert all(part == parts[-1][: len(part)] == lowest(shuffled, len(part), seed=3) for part in parts)
    assert ids(parts[1]) not in (ids(rows[:5]), ids(lowest(rows, 5, seed=4)))


def test_free_rows_are_divided_exactly():
    split = divide([row(i) for i in range(100)], 0.1, 0.2, 0)
    assert [len(split.train), len(split.validation), len(split.test), split.dropped] == [70, 10, 20, 0]
    assert ids(divide([row(i) for i in range(100)], 0.1, 0.2, 1).test) != ids(split.test)


def test_the_test_side_does_not_depend_on_the_validation_share():
    """A recipe searched with one validation share is reported on the same test rows."""
    rows = [row(i) for i in range(100)]
    assert divide(rows, 0.2, 0.2, 0).test == divide(rows, 0.05, 0.2, 0).test


def test_the_real_dilemmas_lose_next_to_nothing(dilemmas):
    """Every action stands in two rows and the rows form long rings, so random rows would touch a third of train."""
    examples = read.dilemmas(dilemmas)
    split = divide(examples, 0.2, 0.2, 0)
    assert (len(split.validation), len(split.test)) == (468, 468)
    assert split.dropped <= 8
    assert not keys(split.train) & (keys(split.test) | keys(split.validation))
    share = sum(e.counts[0] for e in split.test) / (5 * len(split.test))
    assert 0.45 < share < 0.55
