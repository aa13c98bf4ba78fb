"""Respondents that follow a fixed rule and read nothing: null answers beside every number, and test doubles. No jax.

A rule maps the options, in the order in which they are shown, to their shares. A new one is a function and a row of
`SCRIPTED`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.runs.records import Asks, Choices
from moral_jax.types import UserError

Rule = Callable[[Sequence[str]], Sequence[float]]


class Scripted(NamedTuple):
    """A rule and what it does, in words."""

    shares: Rule
    description: str


def _all_on(place: int, count: int) -> list[float]:
    return [float(i == place) for i in range(count)]


def uniform(options: Sequence[str]) -> list[float]:
    """Returns equal shares."""
    return [1 / len(options)] * len(options)


def first(options: Sequence[str]) -> list[float]:
    """Returns all for the option that is shown first."""
    return _all_on(0, len(options))


def last(options: Sequence[str]) -> list[float]:
    """Returns all for the option that is shown last."""
    return _all_on(len(options) - 1, len(options))


def longest(options: Sequence[str]) -> list[float]:
    """Returns all for the option of most characters; options that tie share it."""
    sizes = [len(option) for option in options]
    ties = sizes.count(max(sizes))
    return [(size == max(sizes)) / ties for size in sizes]


SCRIPTED: dict[str, Scripted] = {
    "uniform": Scripted(uniform, "gives all options equal shares"),
    "first": Scripted(first, "always takes the option that is shown first"),
    "last": Scripted(last, "always takes the option that is shown last"),
    "longest": Scripted(longest, "always takes the option of most characters"),
}


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
        if name not in SCRIPTED:
            raise UserError(f"scripted:{name}: no such scripted respondent; there are {', '.join(SCRIPTED)}")
        self.name, self.scripted, self.concentration = name, SCRIPTED[name], concentration

    @property
    def about(self) -> dict[str, Any]:
        """The rule."""
        return {"path": f"scripted:{self.name}", "description": self.scripted.description}

    def prepare(self, splits: Mapping[str, Asks]) -> None:
        """Does nothing: a rule answers everything."""

    def choose(self, asks: Asks, what: str) -> Choices:
        """Returns the rule's shares."""
        count, width = len(asks.items), max(len(order) for _, order in asks.items)
        p_EC = np.zeros((count, width))
        for row, (index, order) in enumerate(asks.items):
            options = [asks.examples[index].options[i] for i in order]
            p_EC[row, : len(order)] = self.scripted.shares(options)
        with np.errstate(divide="ignore"):
            return Choices(np.log(p_EC), np.zeros(count), np.full(count, np.log(self.concentration)))
