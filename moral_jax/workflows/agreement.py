"""Decides rows that people voted on by the prescripts of a case, and says how near that comes to the votes.

A model is asked of each row what it says itself, what each prescript alone says, and whether the prescript holds there.
With P_i and w_i the probability and weight of prescript i, and p_io its share of option o,

    p_o = sum_i M_i p_io,   M_i = w_i P_i / sum_k w_k P_k,

which orders the options as expected utility does with u_io = 2 p_io - 1.

OUT/records.jsonl               what the model was asked and said
OUT/decided/records.jsonl       its own answers, and those by the prescripts, with people's votes
OUT/decided/tally.json, report.html, .md
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moral_jax.config.task import TaskConfig
from moral_jax.report.page import Written
from moral_jax.respondents.api.cost import Budget
from moral_jax.runs import answers
from moral_jax.runs.answers import RECORDS
from moral_jax.runs.records import Record
from moral_jax.runtime import files
from moral_jax.tasks import reading
from moral_jax.tasks.case import Case
from moral_jax.tasks.questionnaire import cross
from moral_jax.tasks.questionnaire.conditions import NONE, Condition
from moral_jax.tasks.questionnaire.cross import Crossed
from moral_jax.tasks.questionnaire.folder import CASE, Folder
from moral_jax.tasks.questionnaire.questions import Question
from moral_jax.types import UserError
from moral_jax.workflows import questionnaire
from moral_jax.workflows.decide import OPTIONS, QUESTION
from moral_jax.workflows.questionnaire import Asked, Who
from moral_jax.workflows.tally import ABOUT, tally

AXIS, ALONE, DECIDED, TALLY = "prescript", "Decide by this alone: {prescript}", "decided", "agreement"
BY = "{who}, by prescripts"


def questions(case: Case, rows: str, config: TaskConfig, limit: int | None) -> Asked:
    """Returns what a model is asked of rows with votes.

    Raises:
      UserError: a row is bad; names it.
    """
    found = [
        Question(example._replace(second_counts=None, keys=()), rows, True, (), None, False, {})
        for example in reading.read(rows, config).examples[:limit]
    ]
    holds = [
        Question(
            q.example._replace(
                id=_holds(q.example.id, e.id), question=QUESTION.format(prescript=e.text), options=OPTIONS,
                counts=(1.0, 1.0), positions=(), groups={},
            ),
            rows, False, (), None, False, {},
        )
        for q in found for e in case.prescripts
    ]  # fmt: skip
    conditions = [Condition(NONE, AXIS)] + [
        Condition(e.id, AXIS, str(case.path), before=ALONE.format(prescript=e.text)) for e in case.prescripts
    ]
    parts = cross.cross(found, {AXIS: conditions}, None)
    task = Folder(case.path.with_suffix(""), title=f"{case.title}: agreement", about=case.about, tally=CASE)
    return Asked(task, [*parts, Crossed("what holds", cross.cross(holds, {}, None)[0].examples)])


def _holds(row: str, prescript: str) -> str:
    return f"{row} | {prescript}"


def by_prescripts(of_row: Mapping[str, Record], p_I: Sequence[float], weights_I: np.ndarray) -> Record:
    """Returns the record of a row as its prescripts decide it, in each order of its options.

    Args:
      of_row: prescript -> the row's record under it, in the order of the weights; and under "none" the row's own.
      p_I: how probable it is that each prescript holds.
    """
    own, under = of_row[NONE], [record for name, record in of_row.items() if name != NONE]
    m_I = weights_I * np.array(p_I)
    m_I = m_I / m_I.sum() if m_I.sum() > 0 else np.full(len(m_I), 1 / len(m_I))
    orders = [
        shown | {"probabilities": (m_I @ [record["orders"][k]["probabilities"] for record in under]).tolist()}
        for k, shown in enumerate(own["orders"])
    ]
    return own | {
        "orders": orders,
        "probabilities": (m_I @ [record["probabilities"] for record in under]).tolist(),
        "option_mass": None,
    }


def decided(records: Sequence[Record], case: Case) -> Iterator[Record]:
    """Yields each respondent's own answer to every row, and its answer by the prescripts.

    Raises:
      UserError: a row was not asked about all prescripts.
    """
    weights_I = case.weights_IJ @ case.context_J
    said = {(r["respondent"], r["row"], r["condition"].get(AXIS)): r for r in records}
    for (who, row, condition), own in said.items():
        if condition != NONE:
            continue
        try:
            of_row = {name: said[who, row, name] for name in (NONE, *(e.id for e in case.prescripts))}
            p_I = [said[who, _holds(row, e.id), None]["probabilities"][0] for e in case.prescripts]
        except KeyError as e:
            raise UserError(f"{who} has not answered all questions on row {row!r} ({e}); ask it again") from e
        for name, record in ((who, own), (BY.format(who=who), by_prescripts(of_row, p_I, weights_I))):
            yield record | {"respondent": name, "condition": {}}


def make(asked: Asked, case: Case, respondents: Sequence[Who], out: Path, budget: Budget, resamples: int) -> Written:
    """Asks models, decides, and writes numbers and page."""
    return questionnaire.answered(asked, respondents, out, budget, lambda: _count(asked, case, out, resamples))


def _count(asked: Asked, case: Case, out: Path, resamples: int) -> Written:
    folder = out / DECIDED
    with files.storage_errors(folder):
        folder.mkdir(exist_ok=True)
        (folder / RECORDS).unlink(missing_ok=True)
    answers.append(folder / RECORDS, list(decided(answers.read(out / RECORDS), case)))
    about: dict[str, Any] = {"title": asked.folder.title, "about": asked.folder.about, "tally": TALLY}
    files.write_json(folder / ABOUT, about)
    return tally(folder, None, resamples)
