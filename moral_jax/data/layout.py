"""Packs questions into rows. In decoders a prefix shared by several texts is stored once and attended to by all.

A row of a decoder with two pack groups of two questions each (P: what all texts begin with; C1, C2: what the texts of a
group begin with; a, b, c, d: what each text adds; read positions are marked with ^):

    tokens     P P P P C1 C1 C1 a a a b b C2 C2 c c c d d 0 0
    segments   1 1 1 1 2  2  2  3 3 3 4 4 5  5  6 6 6 7 7 0 0
    ends       8 8 8 8 5  5  5  4 4 4 5 5 8  8  7 7 7 8 8 1 1
    read                            ^   ^           ^   ^

A token of segment s and end e is seen by the queries of segments s .. e - 1. Positions count within each text, so that
a packed question computes what it would compute alone. Texts that are read token by token (`types.Texts`) have a read
position before each of these tokens, in a shared part too. Texts of an encoder are whole: what they end with changes
what they begin with.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.config.train import DataConfig
from moral_jax.data import blocks
from moral_jax.data.encode import Encoded, Text, common_length
from moral_jax.data.measures import Measures, Measuring
from moral_jax.types import Batch, Example, Item, Options, Texts, Tokens

SHORTEST = 128  # tokens in the shortest row that is made for a few questions
READS_STEP = 64  # read positions of texts grow by so many, so that few programs are compiled


@dataclasses.dataclass(frozen=True)
class Shape:
    """The fixed shape of every batch."""

    rows: int
    data_rows: int  # at most so many rows hold questions; the others are there because devices share rows evenly
    length: int
    questions: int
    answers: int
    options: int
    variants: int
    reads_texts: bool = False  # True for `types.Texts`, false for `types.Options`
    columns: tuple[str, ...] = ()  # names of the columns of `types.Texts`
    token_columns: tuple[str, ...] = ()  # the same of its columns of tokens
    keys: int = 0  # most keys that a block of queries sees, for `types.Tokens.keys_BJU`; 0: they are not listed


class PackGroup(NamedTuple):
    """Items that lie side by side in a row."""

    items: tuple[int, ...]
    common: int  # tokens that their texts have in common after what all questions begin with
    length: int  # tokens that they take up: `common` once, then what each adds
    reads: int = 0  # positions that are read


@dataclasses.dataclass
class Questions:
    """Encoded questions of one split: each item is an example in one order of its options."""

    examples: Sequence[Example]
    items: list[Item]
    encoded: Sequence[Encoded]
    cut: int  # how many items had their text shortened, or were cut into pieces
    is_encoder: bool
    # what was computed before, by name: [number of items, options]
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    # the same for each token that is read: of every item, the tokens of its texts one after the other
    token_columns: dict[str, list[np.ndarray]] = dataclasses.field(default_factory=dict)
    known: Measures | None = None  # if all entries were looked at before

    @functools.cached_property
    def measures(self) -> Measures:
        """What is known of all entries together."""
        if self.known is not None:
            return self.known
        measuring = Measuring()
        for item, encoded in zip(self.items, self.encoded, strict=True):
            measuring.add(item, self.examples[item[0]], encoded)
        return measuring.found()

    def _common(self, items: Sequence[int]) -> int:
        """How many tokens all texts of these items begin with in common and hold once."""
        if self.is_encoder:
            return 0
        if len(items) == 1:  # needs no look at the texts
            return int(self.measures.commons_E[items[0]])
        return common_length([text.tokens_T for item in items for text in self.encoded[item].texts])

    @property
    def shared_T(self) -> np.ndarray:
        """What all texts of all items begin with, and hold once."""
        return self.measures.shared_T[: 0 if self.is_encoder else None]

    def votes(self, entry: int) -> list[float]:
        """Returns the votes of an entry's options, in the order in which they are shown."""
        index, order = self.items[entry]
        return [self.examples[index].counts[o] for o in order]

    def pack_groups(self, together: Iterable[Sequence[int]], shape: Shape) -> list[PackGroup]:
        """Groups of items that belong together; more than one of them where they do not fit into one row."""
        shared = len(self.shared_T)
        room, out = shape.length - shared, []
        sizes = np.stack([self.measures.lengths_E, self.measures.reads_E, self.measures.texts_E], axis=1).tolist()
        for items in together:
            common = self._common(items) - shared
            group = PackGroup((), common, common)
            for item in items:
                length, reads, texts = sizes[item]
                own = length - texts * (shared + common)
                full = group.length + own > room or group.reads + reads > shape.answers
                if group.items and (full or len(group.items) == shape.questions):
                    out.append(group)
                    group = PackGroup((), common, common)
                group = PackGroup((*group.items, item), common, group.length + own, group.reads + reads)
            out.append(group)
        return out


def most_questions(data: DataConfig) -> int:
    """Questions that a row has room for. Few are as short as the default takes them to be, so that rows end up full;
    room for one costs little."""
    return data.questions_per_row or -(-data.length // 20)


def _most_reads(measures: Sequence[Measures], length: int) -> int:
    """Returns the read positions that a row has room for: as many as there are on the average of full rows, and some
    more, so that few rows are full of reads before they are full of tokens. What the texts of an entry begin with is in
    a row once."""
    reads = sum(int(m.reads_E.sum()) for m in measures)
    tokens = sum(int((m.lengths_E - (m.texts_E - 1) * m.commons_E).sum()) for m in measures)
    usual = -(-int(1.1 * length * reads / tokens) // READS_STEP) * READS_STEP
    return max(min(usual, length), max(int(m.reads_E.max()) for m in measures))


def shape_of(
    questions: Sequence[Questions], data: DataConfig, rows: int, data_rows: int, *, lists_keys: bool = False
) -> Shape:
    """Returns a shape into which all the given questions fit; with lists of keys where they are asked for and pay."""
    measures, most = [q.measures for q in questions if q.items], most_questions(data)
    reads_texts, texts = measures[0].reads_texts, max(int(m.texts_E.max()) for m in measures)
    return Shape(
        rows=rows,
        data_rows=data_rows,
        length=data.length,
        questions=most,
        answers=_most_reads(measures, data.length) if reads_texts else most * texts,
        options=max(m.options for m in measures),
        variants=max(m.variants for m in measures),
        reads_texts=reads_texts,
        columns=tuple(questions[0].columns),
        keys=blocks.most_keys(measures, data.length, questions[0].is_encoder) if lists_keys else 0,
    )


def shape_of_few(questions: Questions, shape: Shape, fewest: int) -> Shape:
    """A smaller shape where all questions fit into one row: of a few lengths only, so that few are ever compiled.

    Args:
      fewest: rows that the devices can share.
    """
    needed = int(questions.measures.lengths_E.sum())
    if needed > shape.length or len(questions.items) > shape.questions:
        return shape
    length = next(n for n in (SHORTEST << k for k in itertools.count()) if n >= needed)
    return dataclasses.replace(shape, rows=fewest, data_rows=1, length=min(length, shape.length), keys=0)


class _Row:
    """Fills one row of a batch from the left."""

    def __init__(self, batch: Batch, row: int):
        of = batch.tokens
        assert of.types_BT is not None, "as `blank` makes it"
        self.tokens_T, self.segments_T, self.ends_T = of.tokens_BT[row], of.segments_BT[row], of.ends_BT[row]
        self.positions_T, self.types_T = of.positions_BT[row], of.types_BT[row]
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


def blank(rows: int, shape: Shape, full: Callable[..., Any] = np.full) -> Batch:
    """Returns a batch without questions: the one place that lists its leaves.

    Args:
      rows: how many of the batch's rows.
      full: makes a leaf from its shape, the value that fills it and its type: `np.full`, or a function that describes
        the leaf instead.
    """
    T, Q, A, C, W = shape.length, shape.questions, shape.answers, shape.options, shape.variants

    def whole(value: int, *size: int) -> Any:
        return full((rows, *size), value, np.int32)

    tokens = Tokens(
        tokens_BT=whole(0, T),
        segments_BT=whole(0, T),
        ends_BT=whole(1, T),
        positions_BT=whole(0, T),
        types_BT=whole(0, T),
        keys_BJU=whole(-1, T // blocks.QUERIES, shape.keys) if shape.keys else None,
    )
    asked = {
        "counts_BQC": full((rows, Q, C), 0, np.float32),
        "weights_BQ": full((rows, Q), 0, np.float32),
        "items_BQ": whole(-1, Q),
    }
    if shape.reads_texts:
        texts = Texts(
            read_BA=whole(0, A),
            target_ids_BA=whole(0, A),
            text_of_BA=whole(-1, A),
            token_weights_BA=full((rows, A), 0, np.float32),
            columns={name: full((rows, Q, C), 0, np.float32) for name in shape.columns},
            token_columns={name: full((rows, A), 0, np.float32) for name in shape.token_columns},
            **asked,
        )
        return Batch(tokens, texts)
    options = Options(
        read_BA=whole(0, A), read_of_option_BQC=whole(0, Q, C), option_ids_BQCW=whole(-1, Q, C, W), **asked
    )
    return Batch(tokens, options)


def pack_batch(questions: Questions, rows: Sequence[Sequence[PackGroup]], shape: Shape) -> Batch:
    """Lays groups out in rows: what all begin with, then what the texts of a group share, then each text."""
    batch, P = blank(len(rows), shape), len(questions.shared_T)
    for b, groups in enumerate(rows):
        if not groups:
            continue
        row, q, a = _Row(batch, b), 0, 0
        texts = [[text for item in group.items for text in questions.encoded[item].texts] for group in groups]
        row.add(texts[0][0], slice(0, P), sharers=sum(1 + len(of_group) for of_group in texts))
        for group, of_group in zip(groups, texts, strict=True):
            start = P + group.common
            shared = row.add(of_group[0], slice(P, start), sharers=len(of_group))
            for item in group.items:
                _fill_slot(batch, b, q, questions, item)
                first = a
                for c, text in enumerate(questions.encoded[item].texts):
                    own = row.add(text, slice(start, len(text.tokens_T)))
                    if text.reads_T is not None:
                        places_T = np.r_[0:P, shared.start : shared.stop, own.start : own.stop]
                        a = _fill_reads(batch.asks, b, a, q * shape.options + c, text, places_T)
                        continue
                    for option in questions.encoded[item].options_of(c):
                        batch.asks.read_of_option_BQC[b, q, option] = a
                    batch.asks.read_BA[b, a] = own.start if questions.is_encoder else own.stop - 1
                    a += 1
                for name, of_items in questions.token_columns.items():
                    batch.asks.token_columns[name][b, first:a] = of_items[item]
                q += 1
    if batch.tokens.keys_BJU is not None:
        blocks.list_keys(batch.tokens, questions.is_encoder)
    return batch


def _fill_reads(asks: Texts, b: int, a: int, number: int, text: Text, places_T: np.ndarray) -> int:
    """Writes the reads of a text, and returns the number of the row's next read.

    Args:
      number: of the text in its row.
      places_T: where each of its tokens lies in the row.
    """
    assert text.reads_T is not None, "asked by the caller"
    read = np.flatnonzero(text.reads_T)
    here = slice(a, a + len(read))
    asks.read_BA[b, here] = places_T[read - 1]
    asks.target_ids_BA[b, here] = text.tokens_T[read]
    asks.text_of_BA[b, here] = number
    asks.token_weights_BA[b, here] = 1.0
    return here.stop


def _fill_slot(batch: Batch, b: int, q: int, questions: Questions, item: int) -> None:
    """Writes a question's options and votes."""
    encoded, asks, votes = questions.encoded[item], batch.asks, questions.votes(item)
    for c, ids in enumerate(encoded.option_ids):
        asks.option_ids_BQCW[b, q, c, : len(ids)] = ids
    asks.counts_BQC[b, q, : len(votes)] = votes
    asks.weights_BQ[b, q] = 1.0
    asks.items_BQ[b, q] = item
    for name, column_EC in questions.columns.items():
        asks.columns[name][b, q] = column_EC[item]
