"""Which questions share a row: first fit in the given order. Pure functions of lengths and seeds."""

import numpy as np

OPEN_ROWS = 64  # rows that may still take a question; bounds how far a question moves from its place in the order


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of items in an epoch, [count]: a function of (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def pack(lengths_E: np.ndarray, sizes_E: np.ndarray, room: int, most: int) -> list[list[int]]:
    """Packs groups into rows by first fit.

    Args:
      lengths_E: tokens of each group, in the order in which they are to be placed; none above `room`.
      sizes_E: questions in each group; none above `most`.
      room: tokens that a row holds.
      most: questions that a row holds.

    Returns:
      Rows of places (indices into lengths_E), in the order in which rows were begun.
    """
    rows: list[list[int]] = []
    left = np.empty((0, 2), np.int64)  # tokens and questions that the open rows still hold
    open_rows = np.empty(0, np.int64)
    for place, need in enumerate(zip(lengths_E, sizes_E, strict=True)):
        fits = np.flatnonzero((left >= need).all(-1))
        if len(fits):
            slot = fits[0]
        else:
            if len(open_rows) == OPEN_ROWS:  # the fullest has least to offer
                fullest = np.argmin(left[:, 0])
                left, open_rows = np.delete(left, fullest, axis=0), np.delete(open_rows, fullest)
            rows.append([])
            left, open_rows = np.append(left, [[room, most]], axis=0), np.append(open_rows, len(rows) - 1)
            slot = len(left) - 1
        rows[open_rows[slot]].append(place)
        left[slot] -= need
    return rows


def in_batches(rows: list[list[int]], size: int) -> list[list[list[int]]]:
    """Rows in batches of `size`; the last may be smaller."""
    return [rows[i : i + size] for i in range(0, len(rows), size)]
