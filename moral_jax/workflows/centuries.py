"""People over time: planted centuries whose values move along a known path, or agents that are named."""

from collections.abc import Sequence
from pathlib import Path

from moral_jax.analysis import drift
from moral_jax.analysis.drift import Weights
from moral_jax.analysis.rules import as_record
from moral_jax.runs.records import Record
from moral_jax.runtime import strict_json
from moral_jax.runtime.files import expanded
from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.types import UserError
from moral_jax.workflows import lessons
from moral_jax.workflows.asking import Who
from moral_jax.workflows.questionnaire import Asked

FOLDER = "centuries"


def rows_of(asked: Asked) -> list[Record]:
    """Returns the rows of a questionnaire as rules read them.

    Raises:
      UserError: no option has a tag, so nothing could drift.
    """
    rows = [as_record(example) for example in asked.parts[0].examples]
    if not drift.tags_of(rows):
        raise UserError(f"{asked.folder.path}: no option has tags, whose weights could drift; pass --century=WHO ...")
    return rows


def of_file(path: str, tags: Sequence[str]) -> list[Weights]:
    """Returns the weights of tags in each century: a JSON object a line; a tag that is left out weighs 0.

    Raises:
      UserError: a line is no object of numbers, names an unknown tag, or there are too few lines.
    """
    out: list[Weights] = []
    for where, weights in strict_json.read_lines(expanded(path)):
        for tag, weight in weights.items():
            if tag not in tags:
                raise UserError(f"{where}: {tag!r} is no tag of the questionnaire; there are {', '.join(tags)}")
            if not is_number(weight):
                raise UserError(f"{where}: {tag!r}: found {shown(weight)}, expected a finite number")
        out.append({tag: float(weight) for tag, weight in weights.items()})
    if len(out) < 2:
        raise UserError(f"{path}: has {len(out)} centuries; expected a JSON object a line, tag -> weight, at least two")
    return out


def weights_of(asked: Asked, path: str, centuries: int, pace: float, seed: int) -> list[Weights]:
    """Returns the weights of tags in planted centuries.

    Args:
      path: one of `drift.PATHS`, or a file.
      centuries: how many, unless a file says it.
    """
    tags = drift.tags_of(rows_of(asked))
    if path not in drift.PATHS:
        return of_file(path, tags)
    return drift.planted(tags, path, centuries, pace, seed)


def planted(asked: Asked, weights: Sequence[Weights], out: Path) -> list[Who]:
    """Writes the shares of planted centuries into files, and returns who says them."""
    rows, people = rows_of(asked), []
    for t, of_century in enumerate(weights):
        path = out / FOLDER / f"century-{t:02}.json"
        lessons.write_shares(path, drift.shares(rows, of_century), asked.parts[0].examples)
        people.append(lessons.table(f"century {t}", path))
    return people
