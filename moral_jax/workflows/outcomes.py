"""What an elicitation asks: outcomes, conditions and further questions, read and checked before anybody is asked."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from moral_jax.analysis.utilities import plan
from moral_jax.analysis.utilities.subject import Outcomes
from moral_jax.tasks.elicitation import extras, invented, outcomes, pairs
from moral_jax.tasks.elicitation.outcomes import Outcome
from moral_jax.tasks.questionnaire import conditions
from moral_jax.tasks.questionnaire.conditions import NONE, Condition
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.types import Example, UserError

LONGEST_NAME = 70  # characters of an outcome in tables
LOTTERIES = 100  # as in the paper
CHOICES_FILE = "choices.jsonl"
PARTS = (extras.DISCOUNTING, extras.CHOICES, extras.LOTTERIES)


class How(NamedTuple):
    """How outcomes are asked about."""

    seed: int = 42
    batch: int = plan.BATCH
    samples: int | None = None  # draw so many answers in each order; None: exact shares
    limit: int | None = None  # outcomes
    floor: bool = True  # ask with invented words and without numbers too
    also: tuple[str, ...] = ()  # of PARTS


class Asked(NamedTuple):
    """Outcomes and how they are asked about."""

    folder: Folder
    outcomes: list[Outcome]
    combinations: list[tuple[Condition, ...]]  # of conditions; pairs are planned under the first
    how: How
    choices: list[extras.Choice]

    @property
    def question(self) -> str:
        """The question about a pair."""
        return self.folder.settings.get("question", pairs.QUESTION)

    def examples(self, wanted: Sequence[pairs.Pair], number: int = 0, floor: str = pairs.AS_WRITTEN) -> list[Example]:
        """Returns the questions of some pairs under a combination of conditions."""
        return pairs.examples(self.outcomes, wanted, self.question, self.combinations[number], floor)


def read(name: str, chosen: Mapping[str, list[str]], how: How) -> Asked:
    """Reads and checks outcomes, conditions and further questions.

    Args:
      name: a file, a folder, or the name of a shipped one.
      chosen: conditions by axis; of axes that are not named, those that task.toml says, or none.

    Raises:
      UserError: anything is wrong with them; names file, line and field.
    """
    folder, path = outcomes.find(name)
    if not isinstance(question := folder.settings.get("question", pairs.QUESTION), str):
        raise UserError(f"{folder.path}/task.toml: settings.question: found {question!r}, expected a text")
    found = outcomes.read(path, how.limit)
    if unknown := [part for part in how.also if part not in PARTS]:
        raise UserError(f"--also={unknown[0]}: no such part; there are {', '.join(PARTS)}")
    if extras.LOTTERIES in how.also:
        found += outcomes.lotteries(found, LOTTERIES, how.seed)
    axes = conditions.read(folder)
    usual = {axis: [NONE] for axis, of in axes.items() if NONE in of and axis not in folder.axes}
    of_axes = conditions.choose(axes, folder, usual | dict(chosen))
    choices_path = folder.path / CHOICES_FILE
    if extras.CHOICES in how.also and not choices_path.exists():
        raise UserError(f"--also=choices: {choices_path} is not there; expected a question and its answers a line")
    choices = extras.read_choices(choices_path) if extras.CHOICES in how.also else []
    return Asked(folder, found, list(itertools.product(*of_axes.values())), how, choices)


def by_number(found: Sequence[Outcome]) -> Outcomes:
    """Returns what is counted of outcomes."""
    place = {one.id: i for i, one in enumerate(found)}
    goods: dict[str, list[tuple[int, float]]] = {}
    for i, one in enumerate(found):
        if one.amount is not None:
            goods.setdefault(one.good, []).append((i, one.amount))
    return Outcomes(
        ids=[one.id for one in found],
        names=_names(found),
        goods={good: of for good, of in goods.items() if len({amount for _, amount in of}) > 1},
        lotteries={i: {place[name]: p for name, p in one.of.items()} for i, one in enumerate(found) if one.of},
        states={i: [place[name] for name in one.next] for i, one in enumerate(found) if one.next is not None},
        has_number_N=np.array([invented.has_number(one.text) for one in found]),
    )


def _names(found: Sequence[Outcome]) -> list[str]:
    """Returns outcomes as tables show them: by their texts, cut, and by their ids too where these are then the same."""
    cut = [one.text if len(one.text) <= LONGEST_NAME else one.text[: LONGEST_NAME - 1] + "…" for one in found]
    return [name if cut.count(name) == 1 else f"{one.id}: {name}" for name, one in zip(cut, found, strict=True)]


def first_pairs(asked: Asked) -> list[pairs.Pair]:
    """Returns the pairs that are asked whatever is answered: those that are held out, and the ring."""
    out = []
    for batch in plan.batches(len(asked.outcomes), asked.how.seed, lambda _: np.zeros(0), asked.how.batch):
        out += batch.pairs
        if batch.name == plan.RING:
            break
    return out


def size(asked: Asked) -> str:
    """Says how many questions there will be, about."""
    n, conditions_ = len(asked.outcomes), len(asked.combinations)
    planned = plan.size(n, asked.how.batch)
    under = f" under {conditions_} conditions" if conditions_ > 1 else ""
    return f"{planned:,} pairs{under}, {plan.held_out_count(n):,} of them held out"
