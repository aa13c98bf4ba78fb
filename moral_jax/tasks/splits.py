"""Dividing rows by a seeded hash, so that nothing two rows share lies on both sides."""

import hashlib
import heapq
from collections import defaultdict
from typing import NamedTuple

from moral_jax.types import Example


class Split(NamedTuple):
    """The three sides, each in the order of the hash, and how many rows were left out to keep them apart."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]
    dropped: int


def rank(example: Example, seed: int) -> int:
    """A row's place in the seeded order: depends on its id alone."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{example.id}".encode(), digest_size=8).digest())


def lowest(examples: list[Example], count: int, seed: int) -> list[Example]:
    """The first so many rows in the seeded order: fewer of them are always among more."""
    return sorted(examples, key=lambda x: rank(x, seed))[:count]


def divide(examples: list[Example], validation: float, test: float, seed: int) -> Split:
    """Divides rows into train, validation and test.

    Rows that share a key (in DILEMMAS every action stands in two rows, and nearly all rows hang together) are one
    graph. A side starts at its row of lowest hash and grows to neighbours first, so it is a few connected pieces;
    the rows that still touch it afterwards are dropped. Random rows would touch a third of the training set.

    Args:
      examples: rows with `keys`; rows without keys are free.
      validation, test: shares of all rows.
      seed: of the hash.
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
    kept = len(train) + sum(map(len, sides.values()))
    return Split(
        train=[examples[i] for i in train],
        validation=[examples[i] for i in sides["validation"]],
        test=[examples[i] for i in sides["test"]],
        dropped=len(examples) - kept,
    )
