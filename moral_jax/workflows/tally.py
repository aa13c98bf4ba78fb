"""Counts answers, and folders that nobody needs to answer: numbers and page.

DIR/questionnaire.json what was asked and who answered
DIR/tally.json         the numbers
DIR/report.html, .md   the page
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from moral_jax.analysis.tallies import aggregators, count, frequencies
from moral_jax.analysis.tallies.aggregators import Ballot
from moral_jax.report import aggregators as page_of_groups
from moral_jax.report import judged as page_of_replies
from moral_jax.report import questionnaire as page
from moral_jax.report.page import Written
from moral_jax.runs import answers
from moral_jax.runs.answers import RECORDS
from moral_jax.runs.records import Record
from moral_jax.runtime import files, strict_json
from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.tasks import reading
from moral_jax.tasks.questionnaire import folder, labels, questions
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.tasks.rows import Columns
from moral_jax.types import UserError
from moral_jax.workflows import tally_replies

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


def tally(
    asked: Path, name: str | None, resamples: int = 1000, out: Path | None = None, way: str = aggregators.DEFAULT
) -> Written:
    """Counts the answers in a directory, and writes numbers and page.

    Args:
      asked: a directory with records.jsonl, which another program may have written.
      name: of the tally; default: what the questionnaire names.
      out: where numbers and page go; default: to the answers.
      way: of "aggregators", the one that the page begins with.
    """
    out = out or asked
    about: dict[str, Any] = strict_json.read(asked / ABOUT) if (asked / ABOUT).exists() else {}
    name = name or about.get("tally")
    if name in (folder.GRAPH, folder.CASE):
        raise UserError(f"{asked}: is counted by the command that asked it: moral-jax {name} ... --out={asked}")
    if name is None:
        raise UserError(f"{asked}: has no {ABOUT} that names a tally; pass --as={'|'.join(count.TALLIES)}")
    if name == folder.UTILITIES:
        raise UserError(
            f"{asked}: holds an elicitation; the moral-jax elicit command that made it counts it again, and asks "
            f"nothing twice"
        )
    if name in count.TALLIES and count.get(name).of_replies:
        found, records = tally_replies.tally(asked, name, about, resamples)
        return _written(out, found, about, records)
    records = answers.read(asked / RECORDS)
    settings, surface = about.get("settings", {}), about.get("surface", "longest")
    if name == aggregators.NAME:
        found = aggregators.count(aggregators.grouped(_of_records(records)), way, resamples)
    else:
        found = count.count(records, name, settings, surface, resamples)
    return _written(out, found, about, records)


def _written(out: Path, found: dict[str, Any], about: dict[str, Any], records: list[Record]) -> Written:
    """Writes numbers and page."""
    with files.storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / TALLY, found)
    if found["tally"] == aggregators.NAME:
        return page_of_groups.write(out, found, about)
    if "judges" in found:
        return page_of_replies.write(out, found, about, records)
    return page.write(out, found, about, records)


def _of_records(records: Sequence[Record]) -> Iterator[Ballot]:
    """Yields the votes of people in the records of a questionnaire's answers, once each."""
    seen = set()
    for r in records:
        if r["counts"] is not None and r["groups"] and r["row"] not in seen:
            seen.add(r["row"])
            yield _ballot(r["question"], r["text"], r["options"], r["groups"], r["counts"], f"row {r['row']!r}")


def _ballot(question: str, text: str, options: Sequence[str], groups: dict[str, str], counts: Any, at: str) -> Ballot:
    asked = " ".join(part for part in (question, text) if part)
    return Ballot(asked, tuple(options), ", ".join(groups.values()) or at, counts, at)


def tally_folder(name: str, out: Path | None, way: str, kind: str | None = None, resamples: int = 1000) -> Written:
    """Counts a folder that nobody needs to answer, and writes numbers and page: frequencies of values, or the votes of
    groups.

    Args:
      name: a folder, or the name of a shipped one.
      out: where numbers and page go; default: runs/NAME, or runs/NAME-KIND if the folder's own tally is another.
      way: the way of deciding that the page begins with.
      kind: the tally; default: the folder's.
      resamples: of the votes of groups.

    Raises:
      UserError: the folder is of another kind, or anything is wrong with it.
    """
    task = folder.read(name)
    folder.only_asked(task, name)
    kind = kind or task.tally
    if kind not in WITHOUT_ANSWERS:
        raise UserError(f"{name}: has no answers yet; ask somebody first: moral-jax ask --task={name} --model=...")
    found = WITHOUT_ANSWERS[kind](task, way, resamples)
    out = out or Path("runs") / (task.name if kind == task.tally else f"{task.name}-{kind}")
    return _written(out, found, about_of(out, task), [])


def _aggregators(task: Folder, way: str, resamples: int) -> dict[str, Any]:
    """Returns what groups decide: rows with the same question and options are one decision."""
    ballots = []
    for q in questions.read(task):
        if not q.has_votes:
            raise UserError(f"{q.where}: field 'counts': has no votes, which a decision is made of")
        e = q.example
        ballots.append(_ballot(e.question, e.text, e.options, e.groups, e.counts, q.where))
    return aggregators.count(aggregators.grouped(ballots, _people(task)), way, resamples)


def _people(task: Folder) -> dict[str, float] | None:
    """Returns the people of each group, where rows hold utilities: [settings.people]."""
    people = task.settings.get("people")
    if people is None or (isinstance(people, dict) and all(is_number(n) and n > 0 for n in people.values())):
        return people
    raise UserError(f"{task.path / folder.TASK}: settings.people: found {shown(people)}, expected group = number")


def _frequencies(task: Folder, way: str, resamples: int) -> dict[str, Any]:
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


WITHOUT_ANSWERS: dict[str, Callable[[Folder, str, int], dict[str, Any]]] = {
    "frequencies": _frequencies,
    aggregators.NAME: _aggregators,
}
