"""Decides a case: by the probabilities of its file, or by those that models give.

OUT/decision.json       what is chosen, and why
OUT/report.html, .md    the page
OUT/records.jsonl, questionnaire.json    what models were asked and said, as of a questionnaire

A model is asked of every prescript in every context whether it holds there: P is its share of "yes".
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from moral_jax.analysis import decide as analysis
from moral_jax.analysis.decide import Problem, Rule
from moral_jax.report import decide as page
from moral_jax.report.page import Written
from moral_jax.respondents.api.cost import Budget
from moral_jax.runs import answers
from moral_jax.runs.answers import RECORDS
from moral_jax.runtime import files
from moral_jax.tasks.case import Case
from moral_jax.tasks.questionnaire import cross
from moral_jax.tasks.questionnaire.folder import CASE, Folder
from moral_jax.tasks.questionnaire.questions import Question
from moral_jax.types import Example, UserError
from moral_jax.workflows import questionnaire
from moral_jax.workflows.questionnaire import Asked, Who

FILE, DECISION = "the file", "decision.json"
OPTIONS = ("yes", "no")
QUESTION = "Does this hold here: {prescript}"


def _row(prescript: str, context: str) -> str:
    return f"{prescript} | {context}"


def questions(case: Case) -> Asked:
    """Returns what a model is asked of a case: of every prescript in every context whether it holds there."""
    found = [
        Question(
            Example(_row(e.id, c.id), QUESTION.format(prescript=e.text), OPTIONS, (1.0, 1.0), text=c.text),
            str(case.path), False, (), None, False, {},
        )
        for c in case.contexts for e in case.prescripts
    ]  # fmt: skip
    task = Folder(case.path.with_suffix(""), title=case.title, about=case.about, paper=case.paper, tally=CASE)
    return Asked(task, cross.cross(found, {}, None))


def _of_models(path: Path, case: Case) -> dict[str, np.ndarray]:
    """Returns P, [I, J], of every respondent whose answers stand in a file of records."""
    rows = {_row(e.id, c.id): (i, j) for i, e in enumerate(case.prescripts) for j, c in enumerate(case.contexts)}
    found: dict[str, np.ndarray] = {}
    for record in answers.read(path) if path.exists() else []:
        if tuple(record["options"]) != OPTIONS or record["row"] not in rows:
            raise UserError(f"{path}: row {record['row']!r} is not of this case; pass --out=ANOTHER")
        of_who = found.setdefault(record["respondent"], np.full((len(case.prescripts), len(case.contexts)), np.nan))
        of_who[rows[record["row"]]] = record["probabilities"][0]
    for who, p_IJ in found.items():
        if np.isnan(p_IJ).any():
            raise UserError(f"{path}: {who} has not answered all {len(rows)} questions of this case; ask it again")
    return found


def make(case: Case, respondents: Sequence[Who], out: Path, budget: Budget) -> Written:
    """Asks models, if any are named, decides by each, and writes the decision and the page.

    Args:
      out: a new directory, or one that the same case has begun: who has answered there already counts too.

    Raises:
      UserError: the file gives no probabilities and nobody was asked, or `out` holds something else.
    """
    if respondents:
        return questionnaire.answered(questions(case), respondents, out, budget, lambda: _decide(case, out))
    with files.storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    return _decide(case, out)


def _decide(case: Case, out: Path) -> Written:
    """Decides by every source of probabilities, and writes everything."""
    own = {} if case.relevance_IJ is None else {FILE: case.relevance_IJ}
    sources: Mapping[str, np.ndarray] = own | _of_models(out / RECORDS, case)
    if not sources:
        raise UserError(
            f"{case.path}: [[prescripts]] have no relevance and no observed; give one of them, or --model=... to ask"
        )
    named = (case.contexts, case.prescripts, case.actions)
    contexts, prescripts, actions = ([one.id for one in of] for of in named)
    problem = Problem(contexts, prescripts, actions, case.context_J, case.weights_IJ, case.utilities_AI)
    rule = Rule(**dataclasses.asdict(case.choice))
    found = {
        who: analysis.decide(problem, p_IJ, rule, case.observed_IJ if who == FILE else None)
        for who, p_IJ in sources.items()
    }
    utilities = {
        action: dict(zip(prescripts, u_I.tolist(), strict=True))
        for action, u_I in zip(actions, case.utilities_AI, strict=True)
    }
    files.write_json(out / DECISION, {"rule": rule._asdict(), "utilities": utilities, "decisions": found})
    texts = {action.id: action.text for action in case.actions}
    about = {
        "title": case.title,
        "subtitle": " · ".join(part for part in (case.about, case.paper) if part),
        "sample": case.sample,
    }
    return page.write(out, about, found, rule._asdict(), utilities, texts)
