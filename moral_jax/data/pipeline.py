"""From examples to packed batches: questions are encoded once, and any batch can be made from its number alone."""

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import grain
import numpy as np
from transformers import PreTrainedTokenizerBase

from moral_jax.data import kept
from moral_jax.data.beginnings import side_by_side
from moral_jax.data.encode import Limits, TooLongError, fit, texts_of
from moral_jax.data.layout import PackGroup, Questions, Shape, pack_batch
from moral_jax.data.pack import epoch_order, in_batches, pack
from moral_jax.prompts.render import AnyRendered, OrdersOf, Renderer
from moral_jax.runtime import console
from moral_jax.types import Batch, Example, Item, Params, UserError

WINDOW = 256  # questions that are tokenised at once
THREADS = min(16, os.cpu_count() or 1)
GOLDEN = 0.6180339887498949  # its multiples spread evenly over [0, 1), so rows shown now and then take turns evenly


def passes_in(epoch: int, place: int, weight: float) -> range:
    """Returns which passes over an example lie in an epoch that shows it `weight` times on average.

    With weight 2 every epoch has two; with 0.5 every other one has one, and which differs between neighbours in place.
    """
    phase = place * GOLDEN % 1
    return range(math.floor(epoch * weight + phase), math.floor((epoch + 1) * weight + phase))


def epoch_items(
    examples: Iterable[Example],
    epoch: int,
    orders_of: OrdersOf,
    at_once: int,
    weight_of: Callable[[Example], float] = lambda _: 1.0,
) -> list[tuple[Item, ...]]:
    """What an epoch shows of each example: `at_once` of its orders, side by side, the next ones in the next pass.

    Showing a question in opposite orders in one step cancels the gradient of merely preferring a place, which is else
    the largest part of its noise.
    """
    out = []
    for i, example in enumerate(examples):
        choices, weight = orders_of(example), weight_of(example)
        for number in passes_in(epoch, i, weight) if weight != 1 else (epoch,):
            start = i + number * at_once
            out.append(tuple((i, choices[(start + k) % len(choices)]) for k in range(min(at_once, len(choices)))))
    return out


def _in_order(render: Renderer, order: tuple[int, ...]) -> Callable[[Example], AnyRendered]:
    return lambda example: render(example, order)


@contextlib.contextmanager
def _named(example: Example) -> Iterator[None]:
    """Says in errors which row they are about."""
    try:
        yield
    except UserError as e:
        raise UserError(f"row {example.id!r}: {e}") from e


def encode_items(
    examples: Sequence[Example],
    items: Iterable[Item],
    tokenizer: PreTrainedTokenizerBase,
    render: Renderer,
    limits: Limits,
    what: str,
    key: str | None = None,
    *,
    leaves_out: bool = False,
) -> Questions:
    """Encodes each different item once, with a progress bar; errors name the row.

    Args:
      what: is encoded, for the bar.
      key: under which the cache keeps what is encoded; None: it stays in memory.
      leaves_out: true if items that are too long have no entry, instead of being an error.
    """
    unique = list(dict.fromkeys(items))

    def entries() -> Iterator[kept.Entry]:
        bar = console.progress(total=len(unique), desc=f"tokenising {what}", unit="question", leave=False, delay=1)
        with bar, ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(unique), WINDOW):
                window = unique[start : start + WINDOW]
                # chat templates run under an alarm, which only the main thread has
                begun = []
                for index, order in window:
                    example = examples[index]
                    with _named(example):
                        rendered = render(example, order)
                    begun.append((example, rendered, pool.submit(texts_of, tokenizer, rendered)))
                done = zip(window, begun, strict=True)
                for place, (item, (example, rendered, texts)) in enumerate(done, start):
                    bar.update()
                    with _named(example):
                        again = _in_order(render, item[1])
                        try:
                            parts, shortened = fit(tokenizer, again, example, limits, (rendered, texts.result()))
                        except TooLongError:
                            if leaves_out:
                                continue
                            raise
                    for encoded in parts:
                        yield kept.Entry(place, item, example, encoded, shortened)

    is_encoder = not limits.shares
    if key is None:
        made = list(entries())
        cut = len({entry.place for entry in made if entry.is_cut})
        return Questions(examples, [e.item for e in made], [e.encoded for e in made], cut, is_encoder)
    found = kept.find(key)
    if found:
        console.info(f"tokens of {what}: {len(found.encoded)} texts, as kept before")
    else:
        found = kept.write(key, entries())
    of_entries = [unique[place] for place in found.places.tolist()]
    return Questions(examples, of_entries, found.encoded, found.cut, is_encoder, known=found.measures)


class Batches:
    """A random-access sequence of batches, number -> batch: a `types.Source` that never looks at parameters.

    The plan is the same on every machine; each makes only its own part, the rows `local_rows` of each batch.
    """

    def __init__(
        self,
        questions: Questions,
        plan: list[list[list[PackGroup]]],
        shape: Shape,
        local_rows: Sequence[int],
        prefetch: int,
    ):
        self.questions, self.plan, self.shape = questions, plan, shape
        self.local_rows, self.prefetch = local_rows, prefetch

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> Batch:
        rows = self.plan[number]
        return pack_batch(self.questions, [rows[i] if i < len(rows) else [] for i in self.local_rows], self.shape)

    def tokens(self, count: int | None = None) -> int:
        """Tokens in these batches (the first `count`) that belong to a question, or to the beginning of several."""
        rows = [row for batch in self.plan[:count] for row in batch]
        return len(rows) * len(self.questions.shared_T) + sum(group.length for row in rows for group in row)

    def fill(self) -> float:
        """Share of all tokens in these batches that are no padding."""
        return self.tokens() / max(1, len(self.plan) * self.shape.rows * self.shape.length)

    def tokens_alone(self) -> int:
        """Tokens of these batches' questions if nothing that several begin with were shared."""
        items = [item for batch in self.plan for row in batch for group in row for item in group.items]
        return int(self.questions.measures.lengths_E[items].sum())

    def shared_fraction(self) -> float:
        """Returns the share of the questions' tokens that is not computed again, because several begin with them."""
        return 1 - self.tokens() / max(1, self.tokens_alone())

    def stream(self, start: int, stop: int, params: Callable[[], Params] | None = None) -> Iterator[Batch]:
        """Yields batches start .. stop - 1, made ahead on other threads."""
        if start >= stop:
            return iter(())
        source = grain.MapDataset.range(start, stop).map(self.__getitem__)
        return iter(source.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=self.prefetch)))

    def names(self, batch: Batch) -> list[str]:
        """Returns the ids of the examples in a batch, sorted."""
        items = batch.asks.items_BQ
        return sorted({self.questions.examples[self.questions.items[i][0]].id for i in items[items >= 0]})


def _plan(questions: Questions, groups: Sequence[PackGroup], shape: Shape) -> list[list[list[PackGroup]]]:
    """Batches of rows of groups."""
    return in_batches(in_rows(questions, groups, shape), shape.data_rows)


def in_rows(questions: Questions, groups: Sequence[PackGroup], shape: Shape) -> list[list[PackGroup]]:
    """Returns groups in rows, by first fit."""
    needs = np.array([(group.length, len(group.items), group.reads) for group in groups])
    rows = pack(needs, (shape.length - len(questions.shared_T), shape.questions, shape.answers))
    return [[groups[place] for place in row] for row in rows]


def scoring_batches(questions: Questions, shape: Shape, local_rows: Sequence[int], prefetch: int) -> Batches:
    """Every item once, those that begin alike side by side, in as few rows as that takes."""
    ways = []
    for together in side_by_side(questions, shape.questions):
        groups = questions.pack_groups(together, shape)
        groups.sort(key=lambda group: -group.length)  # first fit then wastes least
        ways.append(in_rows(questions, groups, shape))
    plan = in_batches(min(ways, key=len), shape.data_rows)
    return Batches(questions, plan, shape, local_rows, prefetch)


def training_batches(
    questions: Questions,
    epochs: Sequence[Sequence[tuple[Item, ...]]],
    seed: int,
    shape: Shape,
    local_rows: Sequence[int],
    prefetch: int,
) -> Batches:
    """The batches of all epochs, one after the other; each epoch's order is a function of (seed, epoch)."""
    entries: dict[Item, list[int]] = {}  # a long text has several, one for each of its pieces
    for entry, item in enumerate(questions.items):
        entries.setdefault(item, []).append(entry)
    plan = []
    for epoch, shown in enumerate(epochs):
        order = epoch_order(len(shown), seed, epoch)
        shuffled = [[entry for item in shown[i] for entry in entries[item]] for i in order]
        plan += _plan(questions, questions.pack_groups(shuffled, shape), shape)
    return Batches(questions, plan, shape, local_rows, prefetch)
