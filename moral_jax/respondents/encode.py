"""Examples to token ids, the way a config asks for them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.data import encode, layout, pipeline
from moral_jax.models import api
from moral_jax.models.spec import EncoderSpec
from moral_jax.prompts import chat, render
from moral_jax.runs.records import Asks
from moral_jax.tasks import registry
from moral_jax.types import Example, Item, UserError


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """A model that is found but not yet loaded."""

    path: Path
    tokenizer: PreTrainedTokenizerBase
    model: api.Model
    words: Path  # where the tokenizer was read


def scoring_shape(questions: Sequence[layout.Questions], config: Config, model: api.Model) -> layout.Shape:
    """Returns the shape of scoring batches: all rows hold questions, and every device gets as many rows."""
    rows = sharding.micro_batch_rows(config.eval.batch_size, model.compute.mesh)
    return layout.shape_of(questions, config.data, rows, rows)


class QuestionEncoder:
    """Encodes examples the way a config asks for."""

    def __init__(self, config: Config, files: ModelFiles):
        task, spec = registry.get(config.task.name), files.model.spec
        is_encoder, self.vocab, head = isinstance(spec, EncoderSpec), spec.vocab, config.model.head
        self.config, self.tokenizer = config, files.tokenizer
        if files.model.score_rows:
            self.render = render.make_scored_renderer(config.prompt, head, task.about_one, is_encoder=is_encoder)
        else:
            self.render = render.make_renderer(config.prompt, task.study_prompt, chat.renderer(files.tokenizer))
        self.shows_order = render.options_move(config.prompt, head, task.study_prompt)
        self.limits = encode.Limits(config.data.length, spec.max_positions, shares=not is_encoder)

    def encode(self, asks: Asks, what: str) -> layout.Questions:
        """Encodes every ask.

        Raises:
          UserError: a question is too long, or its options cannot be told apart; names the row.
        """
        examples, items = asks
        questions = pipeline.encode_items(examples, items, self.tokenizer, self.render, self.limits, what)
        largest = max((int(t.tokens_T.max()) for one in questions.encoded for t in one.texts), default=0)
        if largest >= self.vocab:
            raise UserError(
                f"token {largest} is beyond the model's {self.vocab}: tokenizer and model do not belong together; "
                f"take the model's own (config.model.tokenizer)"
            )
        return questions

    def for_scoring(self, examples: Sequence[Example], what: str) -> layout.Questions:
        """Encodes every example in every order of its options."""
        return self.encode(Asks(examples, self.all_items(examples)), what)

    def all_items(self, examples: Sequence[Example]) -> list[Item]:
        """Returns every example in every order of its options."""
        return render.all_items(examples, self.config.prompt.orders, self.shows_order)

    def for_training(
        self, examples: Sequence[Example], epochs: int
    ) -> tuple[layout.Questions, list[list[tuple[Item, ...]]]]:
        """Returns all that is shown in training, encoded, and what each epoch shows of it."""
        orders, at_once = self.config.prompt.orders, self.config.train.orders_per_epoch
        shown = [pipeline.epoch_items(examples, epoch, orders, self.shows_order, at_once) for epoch in range(epochs)]
        items = [item for groups in shown for group in groups for item in group]
        return self.encode(Asks(examples, items), "train"), shown
