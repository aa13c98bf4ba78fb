"""What is counted: outcomes by number, and the answers of one respondent by part."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from moral_jax.analysis.utilities.answers import Answers, answers_of
from moral_jax.runs.records import Record

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """Outcomes by number."""

    ids: list[str]
    names: list[str]  # as tables show them
    goods: dict[str, list[tuple[int, float]]]  # good -> its outcomes and amounts
    lotteries: dict[int, dict[int, float]]
    states: dict[int, list[int]]  # state -> states that may follow
    has_number_N: np.ndarray  # bool: the text holds a digit

    @functools.cached_property
    def place(self) -> dict[str, int]:
        """Outcome -> its number."""
        return {name: i for i, name in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Assembly:
    """The shares of people on pairs, or of personas."""

    shares: dict[Pair, float]  # of the first outcome
    by_group: dict[str, dict[Pair, tuple[float, float]]]  # group -> pair -> share and number of votes


@dataclasses.dataclass(frozen=True)
class Subject:
    """The answers of one respondent."""

    who: str
    outcomes: Outcomes
    fitted: Sequence[Record]
    held: Sequence[Record]
    floors: Mapping[str, Sequence[Record]]  # what is taken out of the words -> pairs of outcomes with numbers
    conditions: Mapping[str, Sequence[Record]]  # other conditions -> the same pairs
    discounting: Sequence[Record]
    choices: Sequence[Record]
    of_assembly: Sequence[Record]  # the pairs that the assembly has decided
    unrelated: Sequence[Record]  # pairs of outcomes of which it has decided none, the same for all respondents
    samples: int | None
    seed: int

    def answers(self, records: Sequence[Record]) -> Answers:
        """Returns records of pairs as arrays."""
        return answers_of(records, self.outcomes.place, self.samples, self.seed)
