"""Divides rows by a seeded hash, so that rows that share a key are never in different splits."""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from moral_jax.tasks.stored import brief, take
from moral_jax.types import Example


class Split(NamedTuple):
    """Three disjoint splits, each in the order of the hash, and the number of rows dropped to keep them apart."""

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    dropped: int


def rank(example_id: str, seed: int) -> int:
    """Returns a row's position in the seeded order, which depends only on its id."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{example_id}".encode(), digest_size=8).digest())


def in_order(examples: Sequence[Example], seed: int) -> np.ndarray:
    """Returns the places of the examples in the seeded order, int64; equal ranks are in the order of ids."""
    ranks = np.fromiter((rank(example.id, seed) for example in brief(examples)), np.uint64, len(examples))
    order = np.argsort(ranks, kind="stable")
    if (np.diff(ranks[order]) == 0).any():
        order = np.array(sorted(order.tolist(), key=lambda place: (ranks[place], examples[place].id)), np.int64)
    return order


def lowest(examples: Sequence[Example], count: int, seed: int) -> Sequence[Example]:
    """Returns the first `count` rows in the seeded order. A smaller count selects a subset of a larger one."""
    return take(examples, in_order(examples, seed)[:count].tolist())


def divide(examples: Sequence[Example], validation: float, test: float, seed: int) -> Split:
    """Divides rows into train, validation and test.

    Rows are nodes of a graph, and rows that share a key are neighbours. In DILEMMAS every action appears in two rows,
    and nearly all rows are connected. Test and validation each start at the free row of lowest hash and add neighbours
    first, so each becomes a few connected pieces. The remaining neighbours of a finished split are dropped. Randomly
    chosen rows would be neighbours of a third of the training set.

    Args:
      examples: rows with `keys`; a row without keys has no neighbours.
      validation: share of all rows in the validation split.
      test: share of all rows in the test split.
      seed: seed of the hash.
    """
    order = in_order(examples, seed)
    row_of = np.empty_like(order)  # from here on a row is its place in the order
    row_of[order] = np.arange(len(order))
    keys = {int(row_of[place]): example.keys for place, example in enumerate(brief(examples)) if example.keys}
    by_key = defaultdict(list)
    for row, of_row in keys.items():
        for key in of_row:
            by_key[key].append(row)
    is_free = bytearray(b"\1") * len(order)

    def grow(size: int) -> np.ndarray:
        side: list[int] = []
        frontier: list[int] = []
        starts = iter(range(len(order)))
        while len(side) < size:
            while frontier and not is_free[frontier[0]]:
                heapq.heappop(frontier)
            row = heapq.heappop(frontier) if frontier else next((i for i in starts if is_free[i]), None)
            if row is None:
                break
            is_free[row] = 0
            side.append(row)
            for key in keys.get(row, ()):
                for neighbour in by_key[key]:
                    if is_free[neighbour]:
                        heapq.heappush(frontier, neighbour)
        for row in frontier:
            is_free[row] = 0
        return np.array(sorted(side), np.int64)

    sides = {name: grow(round(share * len(order))) for name, share in (("test", test), ("validation", validation))}
    sides["train"] = np.flatnonzero(np.frombuffer(is_free, np.uint8))
    taken = {name: take(examples, order[side].tolist()) for name, side in sides.items()}
    return Split(**taken, dropped=len(order) - sum(map(len, sides.values())))
