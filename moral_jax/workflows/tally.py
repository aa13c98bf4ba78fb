"""Counts answers, and folders that nobody needs to answer: numbers and page.

DIR/questionnaire.json what was asked and who answered
DIR/tally.json         the numbers
DIR/report.html, .md   the page
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from moral_jax.analysis.tallies import count, decisions, frequencies
from moral_jax.report import questionnaire as page
from moral_jax.report.page import Written
from moral_jax.runs import answers
from moral_jax.runs.answers import RECORDS
from moral_jax.runtime import files, strict_json
from moral_jax.tasks import reading
from moral_jax.tasks.elicitation.outcomes import TALLY as UTILITIES
from moral_jax.tasks.questionnaire import folder, labels, questions
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.tasks.rows import Columns
from moral_jax.types import UserError

ABOUT, TALLY = "questionnaire.json", "tally.json"


def about_of(out: Path, task: Folder) -> dict[str, Any]:
    """Returns what a directory says of itself, so far."""
    path = out / ABOUT
    kept = ("title", "about", "paper", "licence", "attribution", "sample", "tally", "surface", "settings")
    own = {"task": task.name} | {name: getattr(task, name) for name in kept}
    if not path.exists():
        return own | {"respondents": {}}
    about = strict_json.read(path)
    if about.get("task") != task.name:
        raise UserError(f"{out}: holds answers to {about.get('task')!r}, not to {task.name!r}; pass --out=ANOTHER")
    return about | own


def tally(asked: Path, name: str | None, resamples: int = 1000, out: Path | None = None) -> Written:
    """Counts the answers in a directory, and writes numbers and page.

    Args:
      asked: a directory with records.jsonl, which another program may have written.
      name: of the tally; default: what the questionnaire names.
      out: where numbers and page go; default: to the answers.
    """
    out = out or asked
    about: dict[str, Any] = strict_json.read(asked / ABOUT) if (asked / ABOUT).exists() else {}
    name = name or about.get("tally")
    if name is None:
        raise UserError(f"{asked}: has no {ABOUT} that names a tally; pass --as={'|'.join(count.TALLIES)}")
    if name == UTILITIES:
        raise UserError(
            f"{asked}: holds an elicitation; the moral-jax elicit command that made it counts it again, and asks "
            f"nothing twice"
        )
    records = answers.read(asked / RECORDS)
    settings, surface = about.get("settings", {}), about.get("surface", "longest")
    found = count.count(records, name, settings, surface, resamples)
    with files.storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / TALLY, found)
    return page.write(out, found, about, records)


def tally_folder(name: str, out: Path, way: str) -> Written:
    """Counts a folder that nobody needs to answer, and writes numbers and page: frequencies of values, or the votes of
    groups.

    Args:
      name: a folder, or the name of a shipped one.
      way: the way of deciding that the page begins with.

    Raises:
      UserError: the folder is of another kind, or anything is wrong with it.
    """
    task = folder.read(name)
    if task.tally not in WITHOUT_ANSWERS:
        raise UserError(f"{name}: has no answers yet; ask somebody first: moral-jax ask --task={name} --model=...")
    found = WITHOUT_ANSWERS[task.tally](task, way)
    with files.storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / TALLY, found)
    return page.write(out, found, about_of(out, task), [])


def _decisions(task: Folder, way: str) -> dict[str, Any]:
    """Returns what groups decide: rows with the same question and options are one decision."""
    of: dict[tuple[str, ...], list[tuple[float, ...]]] = {}
    for question in questions.read(task):
        if not question.has_votes:
            raise UserError(f"{question.where}: field 'counts': has no votes, which a decision is made of")
        asked = " ".join(part for part in (question.example.question, question.example.text) if part)
        of.setdefault((asked, *question.example.options), []).append(question.example.counts)
    return decisions.count([decisions.Votes(a, options, np.array(c)) for (a, *options), c in of.items()], way)


def _frequencies(task: Folder, way: str) -> dict[str, Any]:
    """Returns scores of dimensions from a folder's table of frequencies."""
    if not task.frequencies or task.labels is None:
        raise UserError(f"{task.path / folder.TASK}: names no frequencies and [map]; expected both")
    percents: dict[str, float] = {}
    for row in reading.opened(str(task.path / task.frequencies), Columns()).rows:
        if isinstance(row, UserError):
            raise row
        value = row.text("value")
        if value in percents:
            raise row.error("value", value, "each value once")
        percents[value] = row.vote("percent", row.get("percent"))
    labelled = labels.read(str(task.path / task.labels.file), task.labels.tag, task.labels.columns)
    if len(labelled.columns) != 1:
        raise UserError(f"{task.path / folder.TASK}: map.columns: found {len(labelled.columns)}, expected one")
    [column] = labelled.columns
    of = {value: tags[column] for value, tags in labelled.of_tag.items()}
    seen = list(dict.fromkeys(d for ds in of.values() for d in ds))
    named = task.settings.get("dimensions", seen)
    if not named or not isinstance(named, list) or not set(seen) <= set(named):
        raise UserError(f"settings.dimensions: found {named!r}, expected a list with all of {seen}")
    return frequencies.count(percents, of, named)


WITHOUT_ANSWERS: dict[str, Callable[[Folder, str], dict[str, Any]]] = {
    "frequencies": _frequencies,
    "decisions": _decisions,
}
