"""Which questions share a row: first fit in the given order. Pure functions of lengths and seeds."""

import numpy as np

OPEN_ROWS = 64  # rows that may still take a question; bounds how far a question moves from its place in the order


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of items in an epoch, [count]: a function of (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def pack(lengths_E: np.ndarray, room: int, most: int) -> list[list[int]]:
    """Packs items into rows by first fit.

    Args:
      lengths_E: length of each item, in the order in which they are to be placed; none above `room`.
      room: capacity of a row.
      most: largest number of items in a row.

    Returns:
      Rows of item places (indices into lengths_E), in the order in which rows were begun.
    """
    rows: list[list[int]] = []
    free = np.empty(0, np.int64)  # room left in the open rows
    open_rows = np.empty(0, np.int64)
    for item, length in enumerate(lengths_E):
        fits = np.flatnonzero(free >= length)
        if len(fits):
            slot = fits[0]
        else:
            if len(open_rows) == OPEN_ROWS:  # the fullest has least to offer
                fullest = np.argmin(free)
                free, open_rows = np.delete(free, fullest), np.delete(open_rows, fullest)
            rows.append([])
            free, open_rows = np.append(free, room), np.append(open_rows, len(rows) - 1)
            slot = len(free) - 1
        row = rows[open_rows[slot]]
        row.append(item)
        free[slot] = free[slot] - length if len(row) < most else -1
    return rows


def group(rows: list[list[int]], size: int) -> list[list[list[int]]]:
    """Rows in batches of `size`; the last may be smaller."""
    return [rows[i : i + size] for i in range(0, len(rows), size)]
