"""Respondents that follow a rule of `analysis.rules` and read nothing. No jax."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from moral_jax.analysis import rules
from moral_jax.runs.records import Asks, Choices


class ScriptedRespondent:
    """Answers by a rule."""

    can = frozenset({"choose"})
    shows_order = True

    def __init__(self, name: str, concentration: float):
        """Finds the rule.

        Args:
          concentration: of the Dirichlet distribution that the shares are read as.

        Raises:
          UserError: there is no such rule.
        """
        self.name, self.scripted, self.concentration = name, rules.get(name), concentration

    @property
    def about(self) -> dict[str, Any]:
        """The rule."""
        about = {"path": f"scripted:{self.name}", "description": self.scripted.description}
        return about | ({"sha256": self.scripted.sha256} if self.scripted.sha256 else {})

    def prepare(self, splits: Mapping[str, Asks]) -> None:
        """Does nothing: a rule answers everything."""

    def choose(self, asks: Asks, what: str) -> Choices:
        """Returns the rule's shares."""
        count, width = len(asks.items), max(len(order) for _, order in asks.items)
        questions = list(map(rules.as_record, asks.examples))
        p_EC = np.zeros((count, width))
        for row, (index, order) in enumerate(asks.items):
            p_EC[row, : len(order)] = self.scripted.rule(questions[index], order)
        with np.errstate(divide="ignore"):
            return Choices(np.log(p_EC), np.zeros(count), np.full(count, np.log(self.concentration)))
