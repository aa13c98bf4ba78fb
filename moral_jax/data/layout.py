"""Where questions lie in packed rows: what they begin with in common is laid down once and seen by all of them."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from moral_jax.config import DataConfig
from moral_jax.data.encode import Encoded
from moral_jax.types import Batch, Example, Item

SHORTEST = 128  # tokens in the shortest row that is made for a few questions


@dataclasses.dataclass(frozen=True)
class Shape:
    """The fixed shape of every batch."""

    rows: int
    used: int  # at most so many rows hold questions; the others are there because devices share rows evenly
    length: int
    questions: int
    options: int
    variants: int


class Unit(NamedTuple):
    """Items that lie side by side in a row."""

    items: tuple[int, ...]
    common: int  # tokens that they have in common after what all questions begin with
    length: int  # tokens that they take up: `common` once, then what each adds


def common_length(tokens: Sequence[np.ndarray]) -> int:
    """Length of the longest beginning that all have in common, at least one token short of each."""
    texts = [t.tolist() for t in tokens]
    first, last, most = min(texts), max(texts), min(map(len, texts)) - 1
    return min(most, next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), most))


@dataclasses.dataclass
class Questions:
    """Encoded questions of one split: each item is an example in one order of its options."""

    examples: Sequence[Example]
    items: list[Item]
    encoded: list[Encoded]
    cut: int  # how many items had their text shortened

    @functools.cached_property
    def shared_T(self) -> np.ndarray:
        """What all items begin with."""
        tokens = [e.tokens_T for e in self.encoded]
        return tokens[0][: common_length(tokens)]

    def _length(self, item: int) -> int:
        return len(self.encoded[item].tokens_T) - len(self.shared_T)

    def units(self, together: Iterable[Sequence[int]], shape: Shape) -> list[Unit]:
        """Units of items that belong together; more than one of them where they do not fit into one row."""
        room, out = shape.length - len(self.shared_T), []
        for items in together:
            common = common_length([self.encoded[i].tokens_T for i in items]) - len(self.shared_T)
            unit = Unit((), common, common)
            for item in items:
                own = self._length(item) - common
                if unit.items and (unit.length + own > room or len(unit.items) == shape.questions):
                    out.append(unit)
                    unit = Unit((), common, common)
                unit = Unit((*unit.items, item), common, unit.length + own)
            out.append(unit)
        return out


def shape_of(questions: Sequence[Questions], data: DataConfig, rows: int, used: int) -> Shape:
    """A shape into which all the given questions fit."""
    options = [ids for q in questions for e in q.encoded for ids in [e.option_ids]]
    return Shape(
        rows=rows,
        used=used,
        length=data.length,
        questions=data.questions_per_row,
        options=max(len(ids) for ids in options),
        variants=max(len(v) for ids in options for v in ids),
    )


def shape_of_few(questions: Questions, shape: Shape, fewest: int) -> Shape:
    """A smaller shape where all questions fit into one row: of a few lengths only, so that few are ever compiled.

    Args:
      fewest: rows that the devices can share.
    """
    needed = sum(len(e.tokens_T) for e in questions.encoded)
    if needed > shape.length or len(questions.encoded) > shape.questions:
        return shape
    length = next(n for n in (SHORTEST << k for k in itertools.count()) if n >= needed)
    return dataclasses.replace(shape, rows=fewest, used=1, length=min(length, shape.length))


class _Row:
    """Fills one row of a batch from the left."""

    def __init__(self, batch: Batch, row: int):
        self.tokens_T, self.segments_T = batch.tokens_BT[row], batch.segments_BT[row]
        self.ends_T, self.positions_T = batch.ends_BT[row], batch.positions_BT[row]
        self.filled = self.segment = 0

    def add(self, tokens_T: np.ndarray, position: int, sharers: int = 0) -> int:
        """Adds the next segment, which itself and the `sharers` segments after it see; returns its last place."""
        here = slice(self.filled, self.filled + len(tokens_T))
        self.segment += 1
        self.tokens_T[here] = tokens_T
        self.segments_T[here] = self.segment
        self.ends_T[here] = self.segment + 1 + sharers
        self.positions_T[here] = np.arange(position, position + len(tokens_T))
        self.filled = here.stop
        return here.stop - 1


def assemble(questions: Questions, rows: Sequence[Sequence[Unit]], shape: Shape) -> Batch:
    """Lays units out in rows: what all begin with, then of each unit what its items have in common, then each item."""
    B, T, Q, C, W = len(rows), shape.length, shape.questions, shape.options, shape.variants
    batch = Batch(
        tokens_BT=np.zeros((B, T), np.int32),
        segments_BT=np.zeros((B, T), np.int32),
        ends_BT=np.ones((B, T), np.int32),
        positions_BT=np.zeros((B, T), np.int32),
        answers_BQ=np.zeros((B, Q), np.int32),
        option_ids_BQCW=np.full((B, Q, C, W), -1, np.int32),
        counts_BQC=np.zeros((B, Q, C), np.float32),
        weights_BQ=np.zeros((B, Q), np.float32),
        items_BQ=np.full((B, Q), -1, np.int32),
    )
    P = len(questions.shared_T)
    for b, units in enumerate(rows):
        if not units:
            continue
        row, q = _Row(batch, b), 0
        row.add(questions.shared_T, 0, sharers=sum(1 + len(unit.items) for unit in units))
        for unit in units:
            start = P + unit.common
            row.add(questions.encoded[unit.items[0]].tokens_T[P:start], P, sharers=len(unit.items))
            for item in unit.items:
                (index, order), encoded = questions.items[item], questions.encoded[item]
                batch.answers_BQ[b, q] = row.add(encoded.tokens_T[start:], start)
                for c, ids in enumerate(encoded.option_ids):
                    batch.option_ids_BQCW[b, q, c, : len(ids)] = ids
                batch.counts_BQC[b, q, : len(order)] = [questions.examples[index].counts[o] for o in order]
                batch.weights_BQ[b, q] = 1.0
                batch.items_BQ[b, q] = item
                q += 1
    return batch
