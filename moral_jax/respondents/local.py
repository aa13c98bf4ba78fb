"""Weights on this machine as a respondent.

`Scoring` holds what respondents with the same model share: the encoded questions, the shape of their batches, and the
compiled scorer. The model before training and the one after it are two `LocalRespondent`s of one `Scoring`, so
questions are encoded once and the scoring pass is compiled once.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.data import layout
from moral_jax.inference.score import make_scorer, score_questions
from moral_jax.respondents.encode import ModelFiles, QuestionEncoder, scoring_shape
from moral_jax.runs.records import Asks, Choices
from moral_jax.types import Params

OPTIONS_STEP = 8  # room for options grows by so many, so that questions one by one do not compile again each time


class Scoring:
    """Encoded questions, the shape of their batches, and the compiled scorer."""

    def __init__(self, config: Config, files: ModelFiles):
        self.config, self.model = config, files.model
        self.encoder = QuestionEncoder(config, files)
        self.scorer = make_scorer(files.model)
        self._prepared: dict[str, tuple[Asks, layout.Questions]] = {}
        self.shape: layout.Shape | None = None

    def prepare(self, splits: Mapping[str, Asks], also: Sequence[layout.Questions] = ()) -> None:
        """Encodes the questions of all splits, and fits the shape of batches to them.

        Args:
          also: other questions that fit the same shape.
        """
        self._prepared = {split: (asks, self.encoder.encode(asks, split)) for split, asks in splits.items()}
        everything = [*(questions for _, questions in self._prepared.values()), *also]
        self.shape = scoring_shape(everything, self.config, self.model)

    @property
    def cut(self) -> int:
        """The number of prepared questions whose text was shortened."""
        return sum(questions.cut for _, questions in self._prepared.values())

    @property
    def sha256(self) -> dict[str, str]:
        """The SHA-256 of the prepared questions, by split."""
        return {split: questions.sha256 for split, (_, questions) in self._prepared.items()}

    def score(self, params: Params, asks: Asks, what: str) -> Choices:
        """Scores asks: prepared ones in batches of the common shape, others in as small a batch as will do."""
        questions = next((questions for prepared, questions in self._prepared.values() if prepared is asks), None)
        shape = self.shape
        if questions is None or shape is None:
            questions = self.encoder.encode(asks, what)
            shape = self._small_shape(questions)
        return score_questions(self.scorer, params, questions, shape, self.config.data.prefetch, what)

    def _small_shape(self, questions: layout.Questions) -> layout.Shape:
        shape = scoring_shape([questions], self.config, self.model)
        shape = layout.shape_of_few(questions, shape, sharding.micro_batch_rows(1, self.model.compute.mesh))
        return dataclasses.replace(shape, options=sharding.rounded_up(shape.options, OPTIONS_STEP))


class LocalRespondent:
    """Answers with the weights of a model."""

    can = frozenset({"choose"})

    def __init__(self, scoring: Scoring, params: Callable[[], Params], about: Callable[[], dict[str, Any]]):
        """Loads nothing yet.

        Args:
          params: returns the parameters as `models.api.cast_for_scoring` has them; called for the first question.
          about: returns what a run records about the model; called if a run does record it, as it hashes the weights.
        """
        self.scoring, self._load, self._describe = scoring, params, about
        self._params: Params | None = None
        self.shows_order = scoring.encoder.shows_order

    @functools.cached_property
    def about(self) -> dict[str, Any]:
        """The model and the hashes of its files."""
        return self._describe()

    def prepare(self, splits: Mapping[str, Asks]) -> None:
        """Encodes all that will be asked."""
        self.scoring.prepare(splits)

    def choose(self, asks: Asks, what: str) -> Choices:
        """Scores every option of every ask."""
        if self._params is None:
            self._params = self._load()
        return self.scoring.score(self._params, asks, what)
