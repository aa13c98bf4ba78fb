"""Packing: every item once, nothing over capacity, little waste, a function of the seed alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moral_jax.data.pack import OPEN_ROWS, epoch_order, in_batches, pack


def needs(lengths):
    """Returns what questions need that come one by one: tokens, and one place."""
    return np.array([(length, 1) for length in lengths], int).reshape(-1, 2)


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), max_size=300), st.integers(1, 8))
def test_every_item_once_and_nothing_over_capacity(lengths, most):
    rows = pack(needs(lengths), (50, most))
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= 50 and 1 <= len(row) <= most for row in rows)


def test_first_fit_by_hand():
    assert pack(needs([30, 30, 20, 15, 5]), (50, 8)) == [[0, 2], [1, 3, 4]]


def test_one_question_a_row_is_no_packing():
    assert pack(needs([3, 3, 3]), (50, 1)) == [[0], [1], [2]]


def test_units_of_several_questions_count_as_such():
    assert pack(np.array([[10, 2], [10, 2], [10, 1]]), (50, 3)) == [[0, 2], [1]]


def test_little_is_wasted_at_the_lengths_of_dilemmas():
    lengths = np.random.default_rng(0).integers(20, 60, 3000)
    rows = pack(needs(lengths), (475, 16))
    assert lengths.sum() / (475 * len(rows)) > 0.97


def test_items_stay_near_their_place():
    """Only OPEN_ROWS rows are kept open, so that an epoch's order stays what the shuffle made it."""
    rows = pack(needs([26] * 5000), (50, 16))  # nothing fits twice
    assert rows == [[i] for i in range(5000)]
    assert OPEN_ROWS < 100


def test_an_epochs_order_is_a_function_of_seed_and_epoch():
    assert epoch_order(50, 1, 2).tolist() == epoch_order(50, 1, 2).tolist()
    assert sorted(epoch_order(50, 1, 2)) == list(range(50))
    orders = {tuple(epoch_order(50, s, e)) for s in range(3) for e in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize(("rows", "size"), [(17, 4), (16, 4), (3, 8), (1, 1), (0, 4), (9, 2)])
def test_batches_are_few_and_of_nearly_one_size(rows, size):
    batches = in_batches(list(range(rows)), size)
    assert [row for batch in batches for row in batch] == list(range(rows))
    assert len(batches) == -(-rows // size)
    sizes = {len(batch) for batch in batches}
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert max(sizes, default=0) <= size
