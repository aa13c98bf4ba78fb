"""Divides rows by a seeded hash, so that rows that share a key are never in different splits."""

import hashlib
import heapq
from collections import defaultdict
from typing import NamedTuple

from moral_jax.types import Example


class Split(NamedTuple):
    """Three disjoint splits, each in the order of the hash, and the number of rows dropped to keep them apart."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    dropped: int


def rank(example: Example, seed: int) -> int:
    """Returns a row's position in the seeded order, which depends only on its id."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{example.id}".encode(), digest_size=8).digest())


def lowest(examples: list[Example], count: int, seed: int) -> list[Example]:
    """Returns the first `count` rows in the seeded order. A smaller count selects a subset of a larger one."""
    return sorted(examples, key=lambda x: rank(x, seed))[:count]


def divide(examples: list[Example], validation: float, test: float, seed: int) -> Split:
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
    order = sorted(range(len(examples)), key=lambda i: (rank(examples[i], seed), examples[i].id))
    place = {i: n for n, i in enumerate(order)}
    by_key = defaultdict(list)
    for i, example in enumerate(examples):
        for key in example.keys:
            by_key[key].append(i)
    free = set(order)

    def grow(size: int) -> list[int]:
        side: list[int] = []
        frontier: list[int] = []
        starts = iter(order)
        while len(side) < size and free:
            while frontier and order[frontier[0]] not in free:
                heapq.heappop(frontier)
            row = order[heapq.heappop(frontier)] if frontier else next(i for i in starts if i in free)
            free.remove(row)
            side.append(row)
            for key in examples[row].keys:
                for neighbour in by_key[key]:
                    if neighbour in free:
                        heapq.heappush(frontier, place[neighbour])
        free.difference_update(order[n] for n in frontier)
        return sorted(side, key=place.__getitem__)

    sides = {name: grow(round(share * len(examples))) for name, share in (("test", test), ("validation", validation))}
    train = [i for i in order if i in free]
    assigned = len(train) + sum(map(len, sides.values()))
    return Split(
        train=[examples[i] for i in train],
        validation=[examples[i] for i in sides["validation"]],
        test=[examples[i] for i in sides["test"]],
        dropped=len(examples) - assigned,
    )
