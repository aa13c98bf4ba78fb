"""Where questions lie in packed rows: what texts begin with in common is laid down once and seen by all of them, where
the model is a decoder; an encoder's texts are whole, as what they end with changes what they begin with."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from moral_jax.config.train import DataConfig
from moral_jax.data.encode import Encoded, Text, common_length
from moral_jax.types import Batch, Example, Item

SHORTEST = 128  # tokens in the shortest row that is made for a few questions


@dataclasses.dataclass(frozen=True)
class Shape:
    """The fixed shape of every batch."""

    rows: int
    used: int  # at most so many rows hold questions; the others are there because devices share rows evenly
    length: int
    questions: int
    answers: int
    options: int
    variants: int


class Unit(NamedTuple):
    """Items that lie side by side in a row."""

    items: tuple[int, ...]
    common: int  # tokens that their texts have in common after what all questions begin with
    length: int  # tokens that they take up: `common` once, then what each adds


@dataclasses.dataclass
class Questions:
    """Encoded questions of one split: each item is an example in one order of its options."""

    examples: Sequence[Example]
    items: list[Item]
    encoded: list[Encoded]
    cut: int  # how many items had their text shortened
    is_encoder: bool

    def _common(self, items: Iterable[int]) -> int:
        """How many tokens all texts of these items begin with in common and hold once."""
        if self.is_encoder:
            return 0
        return common_length([text.tokens_T for item in items for text in self.encoded[item].texts])

    @functools.cached_property
    def shared_T(self) -> np.ndarray:
        """What all texts of all items begin with."""
        return self.encoded[0].texts[0].tokens_T[: self._common(range(len(self.items)))]

    def units(self, together: Iterable[Sequence[int]], shape: Shape) -> list[Unit]:
        """Units of items that belong together; more than one of them where they do not fit into one row."""
        room, out = shape.length - len(self.shared_T), []
        for items in together:
            common = self._common(items) - len(self.shared_T)
            unit = Unit((), common, common)
            for item in items:
                encoded = self.encoded[item]
                own = encoded.length - len(encoded.texts) * (len(self.shared_T) + common)
                if unit.items and (unit.length + own > room or len(unit.items) == shape.questions):
                    out.append(unit)
                    unit = Unit((), common, common)
                unit = Unit((*unit.items, item), common, unit.length + own)
            out.append(unit)
        return out


def most_questions(data: DataConfig) -> int:
    """Questions that a row has room for. Few are as short as the default takes them to be, so that rows end up full;
    room for one costs little."""
    return data.questions_per_row or -(-data.length // 20)


def shape_of(questions: Sequence[Questions], data: DataConfig, rows: int, used: int) -> Shape:
    """A shape into which all the given questions fit."""
    encoded, most = [e for q in questions for e in q.encoded], most_questions(data)
    return Shape(
        rows=rows,
        used=used,
        length=data.length,
        questions=most,
        answers=most * max(len(e.texts) for e in encoded),
        options=max(len(e.option_ids) for e in encoded),
        variants=max(len(v) for e in encoded for v in e.option_ids),
    )


def shape_of_few(questions: Questions, shape: Shape, fewest: int) -> Shape:
    """A smaller shape where all questions fit into one row: of a few lengths only, so that few are ever compiled.

    Args:
      fewest: rows that the devices can share.
    """
    needed = sum(e.length for e in questions.encoded)
    if needed > shape.length or len(questions.encoded) > shape.questions:
        return shape
    length = next(n for n in (SHORTEST << k for k in itertools.count()) if n >= needed)
    return dataclasses.replace(shape, rows=fewest, used=1, length=min(length, shape.length))


class _Row:
    """Fills one row of a batch from the left."""

    def __init__(self, batch: Batch, row: int):
        self.tokens_T, self.segments_T = batch.tokens_BT[row], batch.segments_BT[row]
        self.ends_T, self.positions_T = batch.ends_BT[row], batch.positions_BT[row]
        self.types_T = batch.types_BT[row]
        self.filled = self.segment = 0

    def add(self, text: Text, part: slice, sharers: int = 0) -> slice:
        """Adds part of a text as the next segment, which itself and the `sharers` segments after it see; returns where
        it lies."""
        tokens_T = text.tokens_T[part]
        here = slice(self.filled, self.filled + len(tokens_T))
        self.segment += 1
        self.tokens_T[here] = tokens_T
        self.segments_T[here] = self.segment
        self.ends_T[here] = self.segment + 1 + sharers
        self.positions_T[here] = np.arange(part.start, part.start + len(tokens_T))
        self.types_T[here] = text.types_T[part]
        self.filled = here.stop
        return here


def _empty(rows: int, shape: Shape) -> Batch:
    B, T, Q, A, C, W = rows, shape.length, shape.questions, shape.answers, shape.options, shape.variants
    return Batch(
        tokens_BT=np.zeros((B, T), np.int32),
        segments_BT=np.zeros((B, T), np.int32),
        ends_BT=np.ones((B, T), np.int32),
        positions_BT=np.zeros((B, T), np.int32),
        types_BT=np.zeros((B, T), np.int32),
        answers_BA=np.zeros((B, A), np.int32),
        states_BQC=np.zeros((B, Q, C), np.int32),
        option_ids_BQCW=np.full((B, Q, C, W), -1, np.int32),
        counts_BQC=np.zeros((B, Q, C), np.float32),
        weights_BQ=np.zeros((B, Q), np.float32),
        items_BQ=np.full((B, Q), -1, np.int32),
    )


def assemble(questions: Questions, rows: Sequence[Sequence[Unit]], shape: Shape) -> Batch:
    """Lays units out in rows: what all begin with, then of each unit what its texts have in common, then each text."""
    batch, P = _empty(len(rows), shape), len(questions.shared_T)
    for b, units in enumerate(rows):
        if not units:
            continue
        row, q, a = _Row(batch, b), 0, 0
        texts = [[text for item in unit.items for text in questions.encoded[item].texts] for unit in units]
        row.add(texts[0][0], slice(0, P), sharers=sum(1 + len(of_unit) for of_unit in texts))
        for unit, of_unit in zip(units, texts, strict=True):
            start = P + unit.common
            row.add(of_unit[0], slice(P, start), sharers=len(of_unit))
            for item in unit.items:
                _fill_slot(batch, b, q, questions, item, a)
                for text in questions.encoded[item].texts:
                    here = row.add(text, slice(start, len(text.tokens_T)))
                    batch.answers_BA[b, a] = here.start if questions.is_encoder else here.stop - 1
                    a += 1
                q += 1
    return batch


def _fill_slot(batch: Batch, b: int, q: int, questions: Questions, item: int, a: int) -> None:
    """Writes a question's options and votes; its first answer position is number `a` of the row."""
    (index, order), encoded = questions.items[item], questions.encoded[item]
    for c, ids in enumerate(encoded.option_ids):
        batch.states_BQC[b, q, c] = a + encoded.text_of(c)
        batch.option_ids_BQCW[b, q, c, : len(ids)] = ids
    batch.counts_BQC[b, q, : len(order)] = [questions.examples[index].counts[o] for o in order]
    batch.weights_BQ[b, q] = 1.0
    batch.items_BQ[b, q] = item
