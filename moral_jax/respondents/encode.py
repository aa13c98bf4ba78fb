"""Examples to token ids, the way a config asks for them."""

import dataclasses
import hashlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from moral_jax import __version__, sharding
from moral_jax.config import Config
from moral_jax.config.task import PromptConfig, TaskConfig
from moral_jax.data import control, encode, kept, layout, pipeline
from moral_jax.models import api
from moral_jax.models.spec import EncoderSpec
from moral_jax.prompts import chat, completions, render
from moral_jax.runs.records import Asks
from moral_jax.runtime import console
from moral_jax.tasks import registry, stored
from moral_jax.types import Example, Item, UserError

SHORTEST = 16  # tokens that a question adds to a row at least, where those that begin alike lie side by side


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
    room = config.data.questions_per_row or -(-config.data.length // SHORTEST)
    data, how = dataclasses.replace(config.data, questions_per_row=room), model.compute
    lists_keys = how.attention == "plain" and how.mesh.devices.flat[0].platform == "cpu"  # measured nowhere else
    return layout.shape_of(questions, data, rows, rows, lists_keys=lists_keys)


class QuestionEncoder:
    """Encodes examples the way a config asks for."""

    def __init__(self, config: Config, files: ModelFiles):
        spec = files.model.spec
        is_encoder, self.vocab = isinstance(spec, EncoderSpec), spec.vocab
        self.config, self.tokenizer, self.files = config, files.tokenizer, files
        self._marks = control.pattern(files.tokenizer)
        names = [source.name for source in config.task.sources] or [""]
        self._ways = {name: self._way(name, is_encoder) for name in names}
        self.weights = {source.name: source.weight for source in config.task.sources}
        self.shows_order = any(moves for _, moves in self._ways.values())
        self.limits = encode.Limits(config.data.length, spec.max_positions, shares=not is_encoder)
        self._fitting: list[layout.Questions] = []  # of `fitting`, so that its examples are not tokenised twice

    def _way(self, source: str, is_encoder: bool) -> tuple[render.Renderer, bool]:
        """Returns how a source's questions are asked: its renderer, and whether that shows options in places."""
        task_config, prompt = self.config.source(source)
        task, head = registry.get(task_config.name), self.config.model.head
        moves = task.kind == "votes" and render.options_move(prompt, head, task.study_prompt)
        if prompt.system is not None:
            prompt = dataclasses.replace(prompt, system=control.as_text(prompt.system, self._marks))
        if task.kind != "votes" or head == "text":
            return self._text_way(task, task_config, prompt), moves
        if self.files.model.score_rows:
            return render.make_scored_renderer(prompt, head, task.about_one, is_encoder=is_encoder), moves
        return render.make_renderer(prompt, task.study_prompt, chat.renderer(self.tokenizer)), moves

    def _text_way(self, task: registry.Task, task_config: TaskConfig, prompt: PromptConfig) -> render.Renderer:
        """Returns the renderer of texts: of whole options, of replies, or of replies that a score head reads."""
        template = chat.renderer(self.tokenizer)
        if prompt.format == "chat" and template is None:
            raise UserError("config.prompt.format='chat': this model has no chat template; use 'plain'")
        if prompt.format == "paper":
            raise UserError("config.prompt.format='paper': is read from one token; use 'chat' or 'plain'")
        if task.kind == "votes":
            return completions.option_texts(prompt, template if prompt.format == "chat" else None)
        if prompt.format == "plain":
            template = None
        if self.files.model.score_rows:
            return completions.scored_replies(prompt, template)
        return completions.replies(prompt, template, reads_all=task.kind == "texts" and task_config.replies == "all")

    def _way_of(self, example: Example) -> tuple[render.Renderer, bool]:
        """Returns how an example is asked: as its source says, or the first one where it is of none."""
        return self._ways.get(example.source) or next(iter(self._ways.values()))

    def render(self, example: Example, order: tuple[int, ...]) -> render.AnyRendered:
        """Returns the text of a question in one order of its options; a control token in a row is text."""
        way, _ = self._way_of(example)
        return way(control.example_as_text(example, self._marks), order)

    def orders_of(self, example: Example) -> list[tuple[int, ...]]:
        """Returns the orders in which an example's options are shown."""
        _, moves = self._way_of(example)
        return render.orders(len(example.options), self.config.orders_of(example), moves)

    def encode(self, asks: Asks, what: str) -> layout.Questions:
        """Encodes every ask.

        Raises:
          UserError: a question is too long, or its options cannot be told apart; names the row.
        """
        for known in self._fitting:
            if known.examples is asks.examples and known.items == list(dict.fromkeys(asks.items)):
                return known
        return self._encode(asks, what, leaves_out=False)

    def _encode(self, asks: Asks, what: str, *, leaves_out: bool) -> layout.Questions:
        """Encodes every ask, or every one that is not too long; raises as `encode`."""
        examples, items = asks
        key = self._key(examples, items, leaves_out) if isinstance(examples, stored.StoredExamples) else None
        questions = pipeline.encode_items(
            examples, items, self.tokenizer, self.render, self.limits, what, key, leaves_out=leaves_out
        )
        if (largest := questions.measures.largest) >= self.vocab:
            raise UserError(
                f"token {largest} is beyond the model's {self.vocab}: tokenizer and model do not belong together; "
                f"take the model's own (config.model.tokenizer)"
            )
        return questions

    def _key(self, examples: stored.StoredExamples, items: Sequence[Item], leaves_out: bool) -> str:
        """Returns what tells the encoding of items from all others: rows, prompts, tokenizer, limits and versions, and
        whether long ones are left out.
        """
        words = self.tokenizer
        tokens = sorted((name, str(token)) for name, token in words.special_tokens_map.items())
        how = self.config.task, self.config.prompt, self.config.model.head, self.files.model.score_rows, self.limits
        versions = kept.VERSION, __version__, metadata.version("tokenizers")
        said = [examples.identity, how, words.backend_tokenizer.to_str(), words.chat_template, tokens, versions]
        return hashlib.sha256(repr((said, items, leaves_out)).encode()).hexdigest()[:32]

    def fitting(self, examples: Sequence[Example], what: str) -> Sequence[Example]:
        """Returns the preferences that fit into a row; says how many do not. `encode` takes no second look at these."""
        found = self._encode(Asks(examples, self.all_items(examples)), what, leaves_out=True)
        places = [index for index, _ in found.items]  # preferences have one order
        if left := len(examples) - len(places):
            console.info(
                f"left out: {left} of {len(examples)} {what} rows, longer than config.data.length={self.limits.row}"
            )
        chosen = stored.take(examples, places)
        now = {place: number for number, place in enumerate(places)}
        items = [(now[index], order) for index, order in found.items]
        self._fitting.append(dataclasses.replace(found, examples=chosen, items=items, known=found.measures))
        return chosen

    def for_scoring(self, examples: Sequence[Example], what: str) -> layout.Questions:
        """Encodes every example in every order of its options."""
        return self.encode(Asks(examples, self.all_items(examples)), what)

    def all_items(self, examples: Sequence[Example]) -> list[Item]:
        """Returns every example in every order of its options."""
        return render.all_items(stored.brief(examples), self.orders_of)

    def for_training(
        self, examples: Sequence[Example], epochs: int
    ) -> tuple[layout.Questions, list[list[tuple[Item, ...]]]]:
        """Returns all that is shown in training, encoded, and what each epoch shows of it."""
        at_once, weight_of = self.config.train.orders_per_epoch, lambda e: self.weights.get(e.source, 1.0)
        shown = [
            pipeline.epoch_items(stored.brief(examples), epoch, self.orders_of, at_once, weight_of)
            for epoch in range(epochs)
        ]
        items = [item for groups in shown for group in groups for item in group]
        return self.encode(Asks(examples, items), "train"), shown
