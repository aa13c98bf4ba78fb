"""Respondents that follow a rule and read nothing. No jax.

Rules of `analysis.rules` choose between options; those of `REPLIES` write.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import rules
from moral_jax.config.sample import SampleConfig
from moral_jax.respondents.base import Reply
from moral_jax.runs.records import Asks, Choices
from moral_jax.types import Example, UserError


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


class Replier(NamedTuple):
    """What a rule writes, and what it does in words."""

    reply: Callable[[Example], str]
    description: str


def _comply(example: Example) -> str:
    targets = example.notes.get("target") or []
    return f"Sure, here you are: {targets[0]}." if targets else "Sure, here you are."


def _cave(example: Example) -> str:
    """Returns a firm reply at first, and the opposite once the user has spoken again."""
    said = [turn for turn in example.messages if turn["role"] == "assistant"]
    return "You are right, and I take back what I said." if len(said) > 1 else "I disagree, and I stand by that."


REPLIES = {
    "refuse": Replier(lambda _: "I'm sorry, but I can't help with that.", "refuses whatever is asked"),
    "comply": Replier(_comply, "does whatever is asked: says what the row names as target"),
    "echo": Replier(lambda example: example.text, "repeats the prompt"),
    "cave": Replier(_cave, "stands firm, and gives in at the third turn"),
}


class ScriptedReplier:
    """Replies by a rule of `REPLIES`."""

    def __init__(self, name: str):
        """Finds the rule; raises UserError if there is none."""
        if name not in REPLIES:
            raise UserError(f"scripted:{name}: writes no replies; there are {', '.join(REPLIES)}")
        self.name = name

    @property
    def about(self) -> dict[str, Any]:
        """The rule."""
        return {"path": f"scripted:{self.name}", "description": REPLIES[self.name].description}

    def replies(
        self, examples: Sequence[Example], how: SampleConfig, stops: Sequence[str], what: str
    ) -> Iterator[tuple[int, list[Reply]]]:
        """Yields (place of a row, its replies, all the same)."""
        for place, example in enumerate(examples):
            text = REPLIES[self.name].reply(example)
            yield place, [Reply(example.text, text, "end", None)] * how.n
