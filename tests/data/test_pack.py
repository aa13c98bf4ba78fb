"""Packing: every item once, nothing over capacity, little waste, a function of the seed alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from moral_jax.data.pack import OPEN_ROWS, epoch_order, pack


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), max_size=300), st.integers(1, 8))
def test_every_item_once_and_nothing_over_capacity(lengths, most):
    rows = pack(np.array(lengths, int), np.ones(len(lengths), int), 50, most)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= 50 and 1 <= len(row) <= most for row in rows)


def test_first_fit_by_hand():
    assert pack(np.array([30, 30, 20, 15, 5]), np.ones(5, int), 50, 8) == [[0, 2], [1, 3, 4]]


def test_one_question_a_row_is_no_packing():
    assert pack(np.array([3, 3, 3]), np.ones(3, int), 50, 1) == [[0], [1], [2]]


def test_units_of_several_questions_count_as_such():
    assert pack(np.array([10, 10, 10]), np.array([2, 2, 1]), 50, 3) == [[0, 2], [1]]


def test_little_is_wasted_at_the_lengths_of_dilemmas():
    lengths = np.random.default_rng(0).integers(20, 60, 3000)
    rows = pack(lengths, np.ones(3000, int), 475, 16)
    assert lengths.sum() / (475 * len(rows)) > 0.97


def test_items_stay_near_their_place():
    """Only OPEN_ROWS rows are kept open, so that an epoch's order stays what the shuffle made it."""
    rows = pack(np.full(5000, 26), np.ones(5000, int), 50, 16)  # nothing fits twice
    assert rows == [[i] for i in range(5000)]
    assert OPEN_ROWS < 100


def test_an_epochs_order_is_a_function_of_seed_and_epoch():
    assert epoch_order(50, 1, 2).tolist() == epoch_order(50, 1, 2).tolist()
    assert sorted(epoch_order(50, 1, 2)) == list(range(50))
    orders = {tuple(epoch_order(50, s, e)) for s in range(3) for e in range(3)}
    assert len(orders) == 9
