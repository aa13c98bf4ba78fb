"""From examples to packed batches: questions are encoded once, and any batch can be made from its number alone."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

import grain
import numpy as np
from transformers import PreTrainedTokenizerBase

from moral_jax import logs
from moral_jax.config import DataConfig
from moral_jax.data.encode import Encoded, fit
from moral_jax.data.pack import epoch_order, group, pack
from moral_jax.data.render import Renderer, orders
from moral_jax.types import Batch, Example, UserError

Item = tuple[int, tuple[int, ...]]  # which example, in which order of its options
SHARED = 1  # segment of the tokens that all questions of a row begin with


@dataclasses.dataclass(frozen=True)
class Shape:
    """The fixed shape of every batch."""

    rows: int
    used: int  # at most so many rows hold questions; the others are there because devices share rows evenly
    length: int
    questions: int
    options: int
    variants: int


@dataclasses.dataclass
class Questions:
    """Encoded questions of one split: each item is an example in one order of its options."""

    examples: Sequence[Example]
    items: list[Item]
    encoded: list[Encoded]
    cut: int  # how many items had their text shortened

    @functools.cached_property
    def shared_T(self) -> np.ndarray:
        """The longest beginning that all items have in common, at least one token short of each."""
        tokens = [e.tokens_T.tolist() for e in self.encoded]
        first, last, most = min(tokens), max(tokens), min(map(len, tokens)) - 1
        same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), most)
        return np.asarray(first[: min(same, most)], np.int32)

    @functools.cached_property
    def own_E(self) -> np.ndarray:
        """Tokens of each item after the shared beginning."""
        return np.array([len(e.tokens_T) for e in self.encoded]) - len(self.shared_T)


def all_items(examples: Sequence[Example], setting: str, moves: bool) -> list[Item]:
    """Every example in every order: what scoring averages."""
    return [(i, order) for i, e in enumerate(examples) for order in orders(len(e.options), setting, moves)]


def epoch_items(
    examples: Sequence[Example], epoch: int, setting: str, moves: bool, at_once: int
) -> list[tuple[Item, ...]]:
    """What an epoch shows of each example: `at_once` of its orders, side by side, the next ones in the next epoch.

    Showing a question in opposite orders in one step cancels the gradient of merely preferring a place, which is else
    the largest part of its noise.
    """
    out = []
    for i, example in enumerate(examples):
        choices = orders(len(example.options), setting, moves)
        start = i + epoch * at_once
        out.append(tuple((i, choices[(start + k) % len(choices)]) for k in range(min(at_once, len(choices)))))
    return out


def encode_items(
    examples: Sequence[Example],
    items: Iterable[Item],
    tokenizer: PreTrainedTokenizerBase,
    render: Renderer,
    limit: int,
    what: str,
) -> Questions:
    """Encodes each different item once, with a progress bar; errors name the row."""
    unique = list(dict.fromkeys(items))
    encoded, cut = [], 0
    for index, order in logs.progress(unique, desc=f"tokenising {what}", unit="question", leave=False):
        try:
            one, shortened = fit(tokenizer, lambda e, o=order: render(e, o), examples[index], limit)
        except UserError as e:
            raise UserError(f"row {examples[index].id!r}: {e}") from e
        encoded.append(one)
        cut += shortened
    return Questions(examples, unique, encoded, cut)


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


def assemble(questions: Questions, rows: list[list[int]], shape: Shape) -> Batch:
    """Lays questions out in rows, one for each of `rows`: the shared beginning once, then what each question adds."""
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
    for b, row in enumerate(rows):
        if not row:
            continue
        batch.tokens_BT[b, :P] = questions.shared_T
        batch.segments_BT[b, :P] = SHARED
        batch.ends_BT[b, :P] = SHARED + 1 + len(row)
        batch.positions_BT[b, :P] = np.arange(P)
        start = P
        for q, item in enumerate(row):
            (index, order), encoded = questions.items[item], questions.encoded[item]
            own_T = encoded.tokens_T[P:]
            here = slice(start, start + len(own_T))
            batch.tokens_BT[b, here] = own_T
            batch.segments_BT[b, here] = SHARED + 1 + q
            batch.ends_BT[b, here] = SHARED + 2 + q
            batch.positions_BT[b, here] = np.arange(P, P + len(own_T))
            start += len(own_T)
            batch.answers_BQ[b, q] = start - 1
            for c, ids in enumerate(encoded.option_ids):
                batch.option_ids_BQCW[b, q, c, : len(ids)] = ids
            batch.counts_BQC[b, q, : len(order)] = [questions.examples[index].counts[o] for o in order]
            batch.weights_BQ[b, q] = 1.0
            batch.items_BQ[b, q] = item
    return batch


class Batches:
    """A random-access sequence of batches: number -> batch, the same on every call.

    The plan is the same on every machine; each makes only its own part, the rows `held` of each batch.
    """

    def __init__(self, questions: Questions, plan: list[list[list[int]]], shape: Shape, held: Sequence[int]):
        self.questions, self.plan, self.shape, self.held = questions, plan, shape, held

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> Batch:
        rows = self.plan[number]
        return assemble(self.questions, [rows[i] if i < len(rows) else [] for i in self.held], self.shape)

    def fill(self) -> float:
        """Share of all tokens in these batches that belong to a question or a shared beginning."""
        own = sum(self.questions.own_E[item] for batch in self.plan for row in batch for item in row)
        shared = sum(len(self.questions.shared_T) for batch in self.plan for _ in batch)
        return float(own + shared) / max(1, len(self.plan) * self.shape.rows * self.shape.length)

    def stream(self, start: int, stop: int, prefetch: int) -> Iterator[Batch]:
        """Batches start .. stop - 1, made ahead on other threads."""
        source = grain.MapDataset.range(start, stop).map(self.__getitem__)
        return iter(source.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=prefetch)))


def _plan(questions: Questions, units: Sequence[list[int]], shape: Shape) -> list[list[list[int]]]:
    """Batches of rows of items; the items of a unit share a row where they fit into one."""
    room = shape.length - len(questions.shared_T)
    together = []
    for unit in units:
        fits = questions.own_E[unit].sum() <= room and len(unit) <= shape.questions
        together += [unit] if fits else [[item] for item in unit]
    lengths = np.array([questions.own_E[unit].sum() for unit in together])
    rows = pack(lengths, np.array([len(unit) for unit in together]), room, shape.questions)
    return group([[item for place in row for item in together[place]] for row in rows], shape.used)


def scoring_batches(questions: Questions, shape: Shape, held: Sequence[int]) -> Batches:
    """Every item once, longest first: first fit then wastes least."""
    longest_first = np.argsort(-questions.own_E, kind="stable")
    return Batches(questions, _plan(questions, [[int(i)] for i in longest_first], shape), shape, held)


def training_batches(
    questions: Questions, epochs: Sequence[Sequence[tuple[Item, ...]]], seed: int, shape: Shape, held: Sequence[int]
) -> Batches:
    """The batches of all epochs, one after the other; each epoch's order is a function of (seed, epoch)."""
    place = {item: i for i, item in enumerate(questions.items)}
    plan = []
    for epoch, units in enumerate(epochs):
        shuffled = [[place[item] for item in units[i]] for i in epoch_order(len(units), seed, epoch)]
        plan += _plan(questions, shuffled, shape)
    return Batches(questions, plan, shape, held)
