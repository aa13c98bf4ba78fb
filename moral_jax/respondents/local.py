"""Weights on this machine as a respondent.

`Scoring` holds what respondents with the same model share: the encoded questions, the shape of their batches, and the
compiled scorer. The model before training and the one after it are two `LocalRespondent`s of one `Scoring`, so
questions are encoded once and the scoring pass is compiled once.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.config.sample import SampleConfig
from moral_jax.data import layout
from moral_jax.data.pipeline import scoring_batches
from moral_jax.inference.generate import make_sampler
from moral_jax.inference.sampler import Sampler
from moral_jax.inference.score import Scorer, make_scorer, read_items, score_questions
from moral_jax.inference.states import Layers, make_layer_scorer
from moral_jax.models.read_out import PRIOR
from moral_jax.respondents.base import Reply, is_weighed
from moral_jax.respondents.encode import ModelFiles, QuestionEncoder, scoring_shape
from moral_jax.respondents.sampling import Sample, asked_of, written
from moral_jax.runs.records import Asks, Choices
from moral_jax.runs.text_records import Likelihoods, of_items
from moral_jax.types import REFERENCE, Example, Params

OPTIONS_STEP = 8  # room for options grows by so many, so that questions one by one do not compile again each time


class Scoring:
    """Encoded questions, the shape of their batches, and the compiled scorer."""

    def __init__(self, config: Config, files: ModelFiles):
        self.config, self.model = config, files.model
        self.encoder = QuestionEncoder(config, files)
        self.weighs = is_weighed(config)
        self.scorer = make_scorer(files.model, weighs=self.weighs)
        self._prepared: dict[str, tuple[Asks, layout.Questions]] = {}
        self.shape: layout.Shape | None = None

    def prepare(
        self, splits: Mapping[str, Asks], also: Sequence[layout.Questions] = (), columns: Sequence[str] = ()
    ) -> None:
        """Encodes the questions of all splits, and fits the shape of batches to them.

        Args:
          also: other questions that fit the same shape.
          columns: names of columns that batches will have; zeros for questions that hold none.
        """
        self._prepared = {split: (asks, self.encoder.encode(asks, split)) for split, asks in splits.items()}
        everything = [*(questions for _, questions in self._prepared.values()), *also]
        shape = scoring_shape(everything, self.config, self.model)
        self.shape = dataclasses.replace(shape, columns=tuple(columns))

    @property
    def cut(self) -> int:
        """The number of prepared questions whose text was shortened."""
        return sum(questions.cut for _, questions in self._prepared.values())

    @property
    def sha256(self) -> dict[str, str]:
        """The SHA-256 of the prepared questions, by split."""
        return {split: questions.measures.sha256 for split, (_, questions) in self._prepared.items()}

    def tokens(self, asks: Asks) -> tuple[int, int]:
        """Returns how many tokens scoring prepared asks reads, and how many they would be one by one."""
        questions = self.prepared(asks)
        assert questions is not None, "asks are prepared"
        assert self.shape is not None, "set by prepare"
        batches = scoring_batches(questions, self.shape, range(self.shape.rows), 0)
        return batches.tokens(), batches.tokens_alone()

    def prepared(self, asks: Asks) -> layout.Questions | None:
        """Returns the encoding of prepared asks; None of others."""
        return next((questions for known, questions in self._prepared.values() if known is asks), None)

    def score(self, params: Params, asks: Asks, what: str) -> Choices:
        """Scores asks: prepared ones in batches of the common shape, others in as small a batch as will do."""
        questions, shape = self.prepared(asks), self.shape
        if questions is None or shape is None:
            questions = self.encoder.encode(asks, what)
            shape = self._small_shape(questions)
        choices = self.score_questions(params, questions, shape, what)
        assert isinstance(choices, Choices), "asked by the caller"
        return choices

    def weigh(self, params: Params, asks: Asks, what: str) -> Likelihoods:
        """Returns the log-probability of every text of prepared asks, its pieces summed."""
        questions = self.prepared(asks)
        assert questions is not None, "texts are prepared"
        assert self.shape is not None, "set by prepare"
        found = self.score_questions(params, questions, self.shape, what)
        assert isinstance(found, Likelihoods), "asked by the caller"
        found = found._replace(reference_EC=questions.columns.get(REFERENCE))
        return of_items(questions.items, asks.items, found)

    def look(self, params: Params, asks: Asks, what: str) -> Layers:
        """Returns what is read of the layers for every item of prepared asks."""
        questions = self.prepared(asks)
        assert questions is not None, "asks are prepared"
        assert self.shape is not None, "set by prepare"
        scorer = make_layer_scorer(self.model)
        return read_items(scorer, params, questions, self.shape, self.config.data.prefetch, what)

    def score_questions(
        self, params: Params, questions: layout.Questions, shape: layout.Shape, what: str
    ) -> Choices | Likelihoods:
        """Returns what is read of every entry of encoded questions."""
        if self.config.model.text_score == "prior":
            questions.columns[PRIOR] = self._prior(params, questions, what)
            shape = dataclasses.replace(shape, columns=(PRIOR,))
        return score_questions(self.scorer, params, questions, shape, self.config.data.prefetch, what)

    def _prior(self, params: Params, questions: layout.Questions, what: str) -> np.ndarray:
        """Returns the log-probability of each option's text after a prompt that asks nothing, [items, options]."""
        bare = [e._replace(question="", title="", text="", messages=()) for e in questions.examples]
        asks_nothing = self.encoder.encode(Asks(bare, questions.items), what)
        shape = scoring_shape([asks_nothing], self.config, self.model)
        found = score_questions(
            self._weigher, params, asks_nothing, shape, self.config.data.prefetch, f"{what}, options alone"
        )
        assert isinstance(found, Likelihoods), "as this scorer reads"
        return found.logp_EC

    @functools.cached_property
    def _weigher(self) -> Scorer:
        return make_scorer(self.model, weighs=True)

    def _small_shape(self, questions: layout.Questions) -> layout.Shape:
        shape = scoring_shape([questions], self.config, self.model)
        shape = layout.shape_of_few(questions, shape, sharding.micro_batch_rows(1, self.model.compute.mesh))
        return dataclasses.replace(shape, options=sharding.rounded_up(shape.options, OPTIONS_STEP))


class LocalRespondent:
    """Answers with the weights of a model."""

    can = frozenset({"choose", "weigh", "sample"})

    def __init__(self, scoring: Scoring, params: Callable[[], Params], about: Callable[[], dict[str, Any]]):
        """Loads nothing yet.

        Args:
          params: returns the parameters as `models.api.cast_for_scoring` has them; called for the first question.
          about: returns what a run records about the model; called if a run does record it, as it hashes the weights.
        """
        self.scoring, self._load, self._describe = scoring, params, about
        self._params: Params | None = None
        self._samplers: dict[tuple[int, int, int], Sampler] = {}  # samples of a prompt, slots, room for tokens
        self._first: dict[SampleConfig, Sampler] = {}
        self.shows_order = scoring.encoder.shows_order

    @functools.cached_property
    def about(self) -> dict[str, Any]:
        """The model and the hashes of its files."""
        return self._describe()

    def prepare(self, splits: Mapping[str, Asks]) -> None:
        """Encodes all that will be asked."""
        self.scoring.prepare(splits)

    def tokens(self, asks: Asks) -> tuple[int, int]:
        """Returns how many tokens prepared asks take, and how many they would without shared beginnings."""
        return self.scoring.tokens(asks)

    def choose(self, asks: Asks, what: str) -> Choices:
        """Scores every option of every ask."""
        return self.scoring.score(self.params, asks, what)

    def weigh(self, asks: Asks, what: str) -> Likelihoods:
        """Returns the log-probability of every text of every ask, all of which were prepared."""
        return self.scoring.weigh(self.params, asks, what)

    def look(self, asks: Asks, what: str) -> Layers:
        """Returns the states of every layer at the answer position of every ask, all of which were prepared."""
        return self.scoring.look(self.params, asks, what)

    def forget(self) -> None:
        """Lets go of the parameters, which the next question loads again."""
        self._params = None

    def sample(
        self, examples: Sequence[Example], how: SampleConfig, stops: Sequence[str]
    ) -> Iterator[tuple[int, list[Sample]]]:
        """Yields (place of a row, its replies) as they come to an end.

        Args:
          stops: texts at which a reply is over; not part of what it says.
        """
        encoder = self.scoring.encoder
        asked = asked_of(encoder, examples, how.max_tokens)
        return written(encoder, self.params, examples, asked, how, stops, self._sampler(how, len(asked)))

    def _sampler(self, how: SampleConfig, prompts: int) -> Sampler:
        """Returns the sampler for so many prompts: one of a size, so that it is compiled once, whatever the seed."""
        new = make_sampler(self.scoring.model, how, prompts)
        return self._samplers.setdefault((new.samples, new.slots, new.room), new)

    def replies(
        self, examples: Sequence[Example], how: SampleConfig, stops: Sequence[str], what: str
    ) -> Iterator[tuple[int, list[Reply]]]:
        """Yields (place of a row, its replies) as they come to an end; arguments as of `base.Replying`.

        The sampler is that of the first call with these settings, so that all replies round alike.
        """
        encoder = self.scoring.encoder
        asked = asked_of(encoder, examples, how.max_tokens)
        if how not in self._first:
            self._first[how] = self._sampler(how, len(asked))
        found = written(encoder, self.params, examples, asked, how, stops, self._first[how], what)
        for place, said in found:
            yield place, [Reply(s.prompt, s.text, s.reason, len(s.tokens)) for s in said]

    @property
    def params(self) -> Params:
        """The parameters, which are loaded for the first question."""
        if self._params is None:
            self._params = self._load()
        return self._params
