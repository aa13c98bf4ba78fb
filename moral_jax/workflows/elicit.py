"""Elicits what respondents value: pairs of outcomes -> records, utilities, page.

OUT/records.jsonl      every answer, appended as it comes: `runs.answers`
OUT/questionnaire.json what was asked and who answered
OUT/tally.json         the numbers
OUT/report.html, .md   the page

Which pairs are asked next follows from the seed and the answers so far (`analysis.utilities.plan`), so a killed run
goes on with the same pairs, and asks none twice.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moral_jax.analysis.utilities.count import count
from moral_jax.analysis.utilities.subject import Assembly
from moral_jax.report import elicitation as page
from moral_jax.report.page import Written
from moral_jax.respondents.api.cost import Budget
from moral_jax.runtime import distributed, files
from moral_jax.tasks.elicitation import assembly
from moral_jax.types import UserError
from moral_jax.workflows.asking import Asking, Who, locked
from moral_jax.workflows.outcomes import Asked, by_number
from moral_jax.workflows.pairwise import Pairwise
from moral_jax.workflows.tally import ABOUT, TALLY, about_of

OTHER = "other outcomes, or another question about them"


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
            what = f"{key}={value}, and this is {how[key]}" if key != "sha256" else OTHER
            raise UserError(f"{out / ABOUT}: was asked with {what}; pass --out=ANOTHER, or ask as before")
    return about | {"elicitation": how}


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
