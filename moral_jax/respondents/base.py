"""The contract of a respondent, and the way from its answers to records. No jax."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from moral_jax.config import Config
from moral_jax.config.sample import SampleConfig
from moral_jax.prompts.render import all_items, orders
from moral_jax.runs.records import Asks, Choices, Record, make_records
from moral_jax.runs.text_records import Likelihoods
from moral_jax.tasks import registry
from moral_jax.types import Example

SettingOf = Callable[[Example], str]


class Respondent(Protocol):
    """Whoever answers questions."""

    can: frozenset[str]  # what it can be asked for: "choose", "weigh"
    shows_order: bool  # options are shown to it in places, so their order may matter

    @property
    def about(self) -> dict[str, Any]:
        """What a run records about it under "model". JSON."""
        ...

    def prepare(self, splits: Mapping[str, Asks]) -> None:
        """Checks and encodes all that will be asked, before anything is loaded, sent or written.

        Raises:
          UserError: it cannot answer; names the row.
        """
        ...

    def choose(self, asks: Asks, what: str) -> Choices:
        """Returns the share of every option of every ask.

        Args:
          what: names the asks in progress bars.
        """
        ...


@runtime_checkable
class Weighing(Respondent, Protocol):
    """A respondent that can say how likely texts are."""

    def weigh(self, asks: Asks, what: str) -> Likelihoods:
        """Returns the log-probability of every text of every ask, all of which were prepared."""
        ...


@runtime_checkable
class Reading(Respondent, Protocol):
    """A respondent that reads tokens, and those that several questions begin with once."""

    def tokens(self, asks: Asks) -> tuple[int, int]:
        """Returns how many tokens prepared asks take, and how many they would one by one."""
        ...


class Reply(NamedTuple):
    """What somebody wrote."""

    prompt: str  # as it was read
    text: str
    reason: str  # why it is over: end, stop, length
    tokens: int | None


class Replying(Protocol):
    """Whoever replies to prompts."""

    @property
    def about(self) -> dict[str, Any]:
        """What is recorded about it. JSON."""
        ...

    def replies(
        self, examples: Sequence[Example], how: SampleConfig, stops: Sequence[str], what: str
    ) -> Iterator[tuple[int, list[Reply]]]:
        """Yields (place of a row, its replies) as they come to an end.

        Args:
          stops: texts at which a reply is over; not part of what it says.
          what: names the work in progress bars.

        Raises:
          UserError: there is no room for a prompt and its reply.
        """
        ...


def is_weighed(config: Config) -> bool:
    """Returns true if the answers of a config's task are a number for each text, not shares of options: always for
    single texts, and for preferences unless a score head chooses between them."""
    kind = registry.get(config.task.name).kind
    return kind == "texts" or (kind == "preferences" and config.model.head != "score")


def asks_of(respondent: Respondent, examples: Sequence[Example], setting_of: SettingOf) -> Asks:
    """Returns the asks about some examples: each in all orders of its options that the respondent can tell apart.

    Args:
      setting_of: the setting of orders of an example, as `Config.orders_of`.
    """
    moves = respondent.shows_order
    return Asks(examples, all_items(examples, lambda e: orders(len(e.options), setting_of(e), moves)))


@dataclasses.dataclass(frozen=True)
class Interview:
    """A respondent and how it is asked: the way to put questions from Python. `moral_jax.load` returns one."""

    respondent: Respondent
    setting_of: SettingOf  # as `Config.orders_of`

    def records(self, examples: Sequence[Example], what: str = "questions") -> list[Record]:
        """Returns one record per example, with the shares averaged over the orders of its options.

        Args:
          what: names the questions in progress bars.
        """
        asks = asks_of(self.respondent, examples, self.setting_of)
        return make_records(asks, self.respondent.choose(asks, what))

    def ask(self, question: str, options: Sequence[str], text: str = "", title: str = "") -> dict[str, float]:
        """Asks one question.

        Args:
          question: the question.
          options: at least two answers.
          text: what is judged, if the question is about a text.
          title: of the text.

        Returns:
          The share of every option; they sum to one.
        """
        example = Example("question", question, tuple(options), (1.0,) * len(options), title, text)
        [record] = self.records([example])
        return dict(zip(record["options"], record["probabilities"], strict=True))
