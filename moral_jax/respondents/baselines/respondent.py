"""A baseline, fitted to training rows, as a respondent."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import calibrate
from moral_jax.analysis.table import from_examples
from moral_jax.respondents.baselines import registry
from moral_jax.respondents.baselines.text import Embed
from moral_jax.runs.records import Asks, Choices
from moral_jax.types import Example


class Reader(NamedTuple):
    """A frozen model as a baseline sees it."""

    embed: Embed
    about: dict[str, Any]  # what a run records about the model


class BaselineRespondent:
    """Answers with a baseline of `registry`."""

    can = frozenset({"choose"})
    shows_order = False

    def __init__(
        self,
        name: str,
        train: Sequence[Example],
        validation: Sequence[Example],
        seed: int,
        initial_concentration: float,
        reader: Reader | None = None,
    ):
        """Fits the baseline.

        The penalty of a regression and the concentration are chosen on the validation rows; without any, the
        concentration is `initial_concentration`.

        Args:
          reader: the frozen model, for a baseline that reads with one.

        Raises:
          UserError: no such baseline, or rows that it cannot answer.
        """
        self.name, self.baseline, self.reader = name, registry.get(name, train), reader
        if self.baseline.reads:
            assert reader is not None, "whoever makes the respondent has a model for it"
            self.fitted = self.baseline.fit(reader.embed, train, validation, seed)
        else:
            self.fitted = self.baseline.fit(train, validation, seed)
        self.concentration = initial_concentration
        if validation:
            claimed = from_examples(validation).replace(p_EC=self.fitted.answer(validation).p_EC)
            self.concentration = calibrate.fixed_concentration(claimed)

    @property
    def about(self) -> dict[str, Any]:
        """The baseline, what was fitted, and the frozen model if there is one."""
        frozen = {"frozen": self.reader.about} if self.reader else {}
        about = {"path": f"baseline:{self.name}", "description": self.baseline.description}
        return about | {"fitted": self.fitted.settings} | frozen

    def prepare(self, splits: Mapping[str, Asks]) -> None:
        """Does nothing: rows that it cannot answer were refused when it was fitted."""

    def choose(self, asks: Asks, what: str) -> Choices:
        """Returns the baseline's shares, and what a rule picks."""
        answers = self.fitted.answer(list(asks.examples))
        index_E = np.array([index for index, _ in asks.items])
        width = max(len(order) for _, order in asks.items)
        p_EC = np.zeros((len(asks.items), width))
        for row, (index, order) in enumerate(asks.items):
            p_EC[row, : len(order)] = answers.p_EC[index, list(order)]
        picked_E = None
        if answers.choice_E is not None:
            picks = zip(answers.choice_E[index_E], asks.items, strict=True)
            picked_E = np.array([-1 if choice < 0 else order.index(choice) for choice, (_, order) in picks])
        count = len(asks.items)
        with np.errstate(divide="ignore"):
            return Choices(np.log(p_EC), np.zeros(count), np.full(count, np.log(self.concentration)), picked_E)
