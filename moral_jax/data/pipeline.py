"""From examples to packed batches: questions are encoded once, and any batch can be made from its number alone."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import grain
import numpy as np
from transformers import PreTrainedTokenizerBase

from moral_jax.data.encode import Limits, fit
from moral_jax.data.layout import Questions, Shape, Unit, assemble
from moral_jax.data.pack import epoch_order, group, pack
from moral_jax.prompts.render import Renderer, orders
from moral_jax.runtime import console
from moral_jax.types import Batch, Example, Item, UserError


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
    limits: Limits,
    what: str,
) -> Questions:
    """Encodes each different item once, with a progress bar; errors name the row."""
    unique = list(dict.fromkeys(items))
    encoded, cut = [], 0
    for index, order in console.progress(unique, desc=f"tokenising {what}", unit="question", leave=False):
        try:
            one, shortened = fit(tokenizer, lambda e, o=order: render(e, o), examples[index], limits)
        except UserError as e:
            raise UserError(f"row {examples[index].id!r}: {e}") from e
        encoded.append(one)
        cut += shortened
    return Questions(examples, unique, encoded, cut, is_encoder=not limits.shares)


class Batches:
    """A random-access sequence of batches: number -> batch, the same on every call.

    The plan is the same on every machine; each makes only its own part, the rows `held` of each batch.
    """

    def __init__(self, questions: Questions, plan: list[list[list[Unit]]], shape: Shape, held: Sequence[int]):
        self.questions, self.plan, self.shape, self.held = questions, plan, shape, held

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> Batch:
        rows = self.plan[number]
        return assemble(self.questions, [rows[i] if i < len(rows) else [] for i in self.held], self.shape)

    def tokens(self) -> int:
        """Tokens in these batches that belong to a question, or to the beginning of several."""
        rows = [row for batch in self.plan for row in batch]
        return len(rows) * len(self.questions.shared_T) + sum(unit.length for row in rows for unit in row)

    def fill(self) -> float:
        """Share of all tokens in these batches that are no padding."""
        return self.tokens() / max(1, len(self.plan) * self.shape.rows * self.shape.length)

    def saved(self) -> float:
        """Share of their questions' tokens that is not computed, because several begin with them."""
        items = [item for batch in self.plan for row in batch for unit in row for item in unit.items]
        return 1 - self.tokens() / max(1, sum(self.questions.encoded[item].length for item in items))

    def stream(self, start: int, stop: int, prefetch: int) -> Iterator[Batch]:
        """Batches start .. stop - 1, made ahead on other threads."""
        if start >= stop:
            return iter(())
        source = grain.MapDataset.range(start, stop).map(self.__getitem__)
        return iter(source.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=prefetch)))


def _plan(questions: Questions, units: Sequence[Unit], shape: Shape) -> list[list[list[Unit]]]:
    """Batches of rows of units."""
    lengths, sizes = [unit.length for unit in units], [len(unit.items) for unit in units]
    rows = pack(np.array(lengths), np.array(sizes), shape.length - len(questions.shared_T), shape.questions)
    return group([[units[place] for place in row] for row in rows], shape.used)


def scoring_batches(questions: Questions, shape: Shape, held: Sequence[int]) -> Batches:
    """Every item once, the orders of an example side by side; longest first: first fit then wastes least."""
    of_example = itertools.groupby(range(len(questions.items)), key=lambda item: questions.items[item][0])
    units = questions.units([list(items) for _, items in of_example], shape)
    units.sort(key=lambda unit: -unit.length)
    return Batches(questions, _plan(questions, units, shape), shape, held)


def training_batches(
    questions: Questions, epochs: Sequence[Sequence[tuple[Item, ...]]], seed: int, shape: Shape, held: Sequence[int]
) -> Batches:
    """The batches of all epochs, one after the other; each epoch's order is a function of (seed, epoch)."""
    place = {item: i for i, item in enumerate(questions.items)}
    plan = []
    for epoch, shown in enumerate(epochs):
        shuffled = [[place[item] for item in shown[i]] for i in epoch_order(len(shown), seed, epoch)]
        plan += _plan(questions, questions.units(shuffled, shape), shape)
    return Batches(questions, plan, shape, held)
