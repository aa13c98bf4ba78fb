"""Elicits what respondents value: pairs of outcomes -> records, utilities, page.

OUT/records.jsonl      every answer, appended as it comes: `runs.answers`
OUT/questionnaire.json what was asked and who answered
OUT/tally.json         the numbers
OUT/report.html, .md   the page

Which pairs are asked next follows from the seed and the answers so far (`analysis.utilities.plan`), so a killed run
goes on with the same pairs, and asks none twice.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis.utilities import plan
from moral_jax.analysis.utilities.count import count
from moral_jax.analysis.utilities.subject import Assembly, Outcomes
from moral_jax.report import elicitation as page
from moral_jax.report.page import Written
from moral_jax.respondents.api.cost import Budget
from moral_jax.runtime import distributed, files
from moral_jax.tasks.elicitation import extras, invented, outcomes, pairs
from moral_jax.tasks.elicitation.outcomes import Outcome
from moral_jax.tasks.questionnaire import conditions
from moral_jax.tasks.questionnaire.conditions import NONE, Condition
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.types import Example, UserError
from moral_jax.workflows import assembly
from moral_jax.workflows.asking import Asking, Who, locked
from moral_jax.workflows.pairwise import Pairwise
from moral_jax.workflows.tally import ABOUT, TALLY, about_of

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


def _about(out: Path, asked: Asked) -> dict[str, Any]:
    """Returns what a directory says of itself, so far.

    Raises:
      UserError: other outcomes were asked about in it, or in another plan.
    """
    about = about_of(out, asked.folder)
    said = json.dumps([asked.question, *([one.id, one.text] for one in asked.outcomes)])
    how = asked.how._asdict() | {"outcomes": len(asked.outcomes), "sha256": hashlib.sha256(said.encode()).hexdigest()}
    how = {key: how[key] for key in ("seed", "batch", "samples", "limit", "outcomes", "sha256")}
    for key, value in about.get("elicitation", how).items():
        if how[key] != value:
            what = (
                "other outcomes, or another question about them"
                if key == "sha256"
                else f"{key}={value}, and this is {how[key]}"
            )
            raise UserError(f"{out / ABOUT}: was asked with {what}; pass --out=ANOTHER, or ask as before")
    return about | {"elicitation": how}


def first_pairs(asked: Asked) -> list[pairs.Pair]:
    """Returns the pairs that are asked first."""
    return next(iter(plan.batches(len(asked.outcomes), asked.how.seed, lambda _: np.zeros(0), asked.how.batch))).pairs


def size(asked: Asked) -> str:
    """Says how many questions there will be, about."""
    n, conditions_ = len(asked.outcomes), len(asked.combinations)
    planned = plan.size(n, asked.how.batch)
    under = f" under {conditions_} conditions" if conditions_ > 1 else ""
    return f"{planned:,} pairs{under}, {plan.held_out_count(n):,} of them held out"


def elicit(
    asked: Asked, respondents: Sequence[Who], out: Path, budget: Budget, people: Assembly | None, resamples: int
) -> Written:
    """Asks all respondents, and writes records, numbers and page.

    Args:
      out: a new directory, or one that the same elicitation has begun.
      budget: what an API may cost.
      people: the shares that answers are compared with, if there are any.
      resamples: of the bootstrap.

    Raises:
      UserError: `out` holds something else, a respondent cannot answer, or pairs were asked in other words before.
    """
    with locked(out):
        about = _about(out, asked)
        numbers = by_number(asked.outcomes)
        subjects = []
        for who in respondents:
            asking = Asking(who, asked.folder, out, budget, about)
            subjects.append(Pairwise(asked, numbers, asking, people).subject())
        if not distributed.is_primary():
            return Written(out / "report.html", "", "")
        found = count(subjects, people, resamples)
        files.write_json(out / TALLY, found)
        return page.write(out, found, about)


def write_rows(asked: Asked, said: Sequence[assembly.Voted], folder: Path) -> str:
    """Writes rows that train a model to have the shares of an assembly, and returns what was written in words."""
    of = assembly.shares(said)
    sides = assembly.write_rows(folder, of, asked.outcomes, asked.question, asked.how.seed)
    rows = ", ".join(f"{count} {side}" for side, count in sides.items())
    left = len(of) - sum(sides.values())
    return (
        f"{folder}: {rows} rows, no outcome on two sides ({left} of {len(of)} pairs across the divide are left out).\n"
        f"  moral-jax train --config=control --config.task.path={folder}/train.jsonl "
        f"--config.task.validation_path={folder}/validation.jsonl --config.task.test_path={folder}/test.jsonl "
        f"--config.model.path=MODEL --workdir=DIR\n"
        f"  moral-jax elicit {folder}/{assembly.HELD_OUT} --assembly={folder}/test.jsonl --model=before=MODEL "
        f"--model=after=run:DIR --out=DIR"
    )
