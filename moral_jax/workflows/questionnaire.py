"""Asks respondents a questionnaire: rows x conditions -> records, numbers, page.

OUT/records.jsonl      every answer, appended as it comes: `runs.answers`
OUT/questionnaire.json what was asked and who answered
OUT/tally.json         the numbers
OUT/report.html, .md   the page

What is answered already is not asked again, so a killed run goes on, and a condition or respondent that is added later
costs only itself.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from moral_jax.analysis import rules
from moral_jax.analysis.tallies import count
from moral_jax.config import Config
from moral_jax.prompts import render
from moral_jax.report.page import Written
from moral_jax.respondents.api.cost import Budget
from moral_jax.runtime import console, distributed
from moral_jax.tasks.questionnaire import conditions, cross, folder, labels, questions
from moral_jax.tasks.questionnaire.cross import Crossed
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.types import Example, UserError
from moral_jax.workflows.asking import Asking, Who, locked
from moral_jax.workflows.tally import WITHOUT_ANSWERS, about_of, tally

PIECE = 256  # questions that are asked before their answers are written


class Asked(NamedTuple):
    """A questionnaire and what of it is asked."""

    folder: Folder
    parts: list[Crossed]

    @property
    def size(self) -> int:
        """The number of questions."""
        return sum(len(part.examples) for part in self.parts)


def read(
    name: str, chosen: Mapping[str, list[str]], limit: int | None = None, rows: str | None = None,
    map_path: str | None = None, *, drops_bad: bool = False,
) -> Asked:  # fmt: skip
    """Reads and checks a questionnaire.

    Args:
      name: a folder, or the name of a shipped one.
      chosen: the conditions that are asked, by axis; of other axes all.
      limit: ask so many rows only, those that come first.
      rows: a table in place of the folder's rows.
      map_path: a table in place of the folder's map.
      drops_bad: leave bad rows out.

    Raises:
      UserError: anything is wrong with it; names file, line and field.
    """
    task = folder.read(name)
    folder.only_asked(task, name)
    if task.tally in WITHOUT_ANSWERS:
        raise UserError(f"{name}: nobody needs to answer it; count it: moral-jax tally {name} --out=DIR")
    axes = conditions.choose(conditions.read(task), task, chosen)
    found = questions.read(task, rows, drops_bad=drops_bad)
    labelled = None
    if task.labels:
        own = task.path / task.labels.file
        path = map_path or (str(own) if own.exists() else task.labels.file)
        labelled = labels.read(path, task.labels.tag, task.labels.columns, task.labels.once)
    count.check_settings(task.tally, task.settings, str(task.path / folder.TASK))
    rules.get(task.surface)
    if rows:  # they are not the folder's own
        task = dataclasses.replace(task, sample=False, licence="the rows' own", attribution=f"rows: {Path(rows).name}")
    return Asked(task, cross.cross(found[:limit], axes, labelled))


def prompts(asked: Asked, config: Config) -> list[str]:
    """Returns the first, the middle and the last of the messages that will be sent, without chat template."""
    return prompts_of([example for part in asked.parts for example in part.examples], config)


def shown(examples: Sequence[Example]) -> list[Example]:
    """Returns those whose prompts are shown before anybody is asked: the first, the middle and the last."""
    return [examples[place] for place in dict.fromkeys((0, len(examples) // 2, len(examples) - 1))]


def prompts_of(examples: Sequence[Example], config: Config) -> list[str]:
    """Returns the messages of the first, the middle and the last of some questions, without chat template."""
    out = []
    for example in shown(examples):
        turns, _ = render.conversation(config.prompt, example, tuple(range(len(example.options))))
        said = "\n".join(f"[{turn['role']}] {turn['content']}" for turn in turns)
        out.append(f"{example.id}\n{said}\n[answer] {render.answer_prefix(config.prompt)}")
    return out


def ask(asked: Asked, respondents: Sequence[Who], out: Path, budget: Budget, resamples: int = 1000) -> Written:
    """Asks all respondents, and writes records, numbers and page.

    Args:
      out: a new directory, or one that the same questionnaire has begun.
      budget: what an API may cost.
      resamples: of the bootstrap.

    Raises:
      UserError: `out` holds something else, a respondent cannot answer, or rows were asked in other words before.
    """
    return answered(asked, respondents, out, budget, lambda: tally(out, None, resamples))


def answered(
    asked: Asked, respondents: Sequence[Who], out: Path, budget: Budget, count: Callable[[], Written]
) -> Written:
    """Asks all respondents as `ask` does, writes records, and returns what `count` makes of them."""
    with locked(out):
        about = about_of(out, asked.folder)
        for who in respondents:
            asking = Asking(who, asked.folder, out, budget, about)
            left = [Crossed(part.name, asking.left(part.examples)) for part in asked.parts]
            if not (count_left := sum(len(part.examples) for part in left)):
                console.info(f"{who.name}: has answered all {asked.size} questions")
                continue
            console.info(f"{who.name}: {count_left} of {asked.size} questions are to be asked")
            asking.ask(left, PIECE)
        if not distributed.is_primary():
            return Written(out / "report.html", "", "")
        return count()


def chosen_conditions(said: Iterable[str]) -> dict[str, list[str]]:
    """Returns axis -> ids of AXIS=ID,ID flags.

    Raises:
      UserError: a flag is not of that form.
    """
    out: dict[str, list[str]] = {}
    for one in said:
        axis, equals, names = one.partition("=")
        if not (axis and equals and names):
            raise UserError(f"--condition={one}: expected AXIS=ID,ID ...")
        out.setdefault(axis, []).extend(name for name in names.split(",") if name)
    return out
