"""Decides which questions share a row, by first fit in the given order. Pure functions of lengths and seeds."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

OPEN_ROWS = 64  # most rows that may still take a question; bounds how far a question moves in the order


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the order of items in an epoch, [count]: a function of (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def pack(needs_EK: np.ndarray, room_K: Sequence[int]) -> list[list[int]]:
    """Packs groups into rows by first fit.

    Args:
      needs_EK: what each group takes of K kinds of room (tokens, questions, read positions), in the order in which they
        are to be placed; none above `room_K`.
      room_K: what a row holds of each kind.

    Returns:
      Rows of indices into needs_EK, in the order in which rows were begun.
    """
    rows: list[list[int]] = []
    free = np.empty((0, len(room_K)), np.int64)  # what the open rows still have room for
    open_rows = np.empty(0, np.int64)
    for index, need in enumerate(needs_EK):
        fits = np.flatnonzero((free >= need).all(-1))
        if len(fits):
            slot = fits[0]
        else:
            if len(open_rows) == OPEN_ROWS:  # closes the fullest row, the least likely to take another question
                fullest = np.argmin(free[:, 0])
                free, open_rows = np.delete(free, fullest, axis=0), np.delete(open_rows, fullest)
            rows.append([])
            free, open_rows = np.append(free, [room_K], axis=0), np.append(open_rows, len(rows) - 1)
            slot = len(free) - 1
        rows[open_rows[slot]].append(index)
        free[slot] -= need
    return rows


def in_batches(rows: list[T], size: int) -> list[list[T]]:
    """Returns rows in as few batches of at most `size` as there can be, of nearly one size: each is a step, and the
    questions of a small one would count more than others."""
    count = -(-len(rows) // size)
    return [rows[len(rows) * i // count : len(rows) * (i + 1) // count] for i in range(count)]
