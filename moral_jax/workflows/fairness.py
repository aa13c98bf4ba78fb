"""Compares groups in a table, or in the records of a run: no metric without its statement.

OUT/fairness.json       what was stated and counted
OUT/report.html, .md    the page
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moral_jax.analysis import fairness as analysis
from moral_jax.analysis.bootstrap import sharing
from moral_jax.analysis.fairness import METRICS, Rows
from moral_jax.report import blocks
from moral_jax.report import fairness as page
from moral_jax.report.page import Written
from moral_jax.runs import answers
from moral_jax.runs.records import Record, read_jsonl
from moral_jax.runs.results import FAIRNESS, QUESTIONNAIRE, RUN, Results
from moral_jax.runs.results import METRICS as METRICS_FILE
from moral_jax.runtime import files
from moral_jax.tasks import reading, statement
from moral_jax.tasks.rows import Columns, Row
from moral_jax.tasks.statement import OfRecords, Statement
from moral_jax.types import UserError
from moral_jax.workflows.summarise import write_page

LABELS = {name: metric.label for name, metric in METRICS.items()}
MOST_PAIRED = 6  # groups; with more, one is named that the others are compared with


def stated(name: str, wanted: Sequence[str] = ()) -> Statement:
    """Reads a statement, and keeps the metrics that are wanted; default: all that it states.

    Raises:
      UserError: a metric is wanted that has no statement, or a field is missing; names metric and file.
    """
    found = statement.read(name, tuple(METRICS))
    for metric in wanted:
        if metric not in METRICS:
            raise UserError(f"--metric={metric}: no such metric; there are {', '.join(METRICS)}")
        if metric not in found.metrics:
            raise UserError(
                f"{found.path}: [metrics.{metric}]: is not there; no metric without its statement. Say what is claimed "
                f"by it (docs/fairness.md)"
            )
    return found._replace(metrics={m: found.metrics[m] for m in METRICS if m in (wanted or found.metrics)})


def _share(row: Row, field: str) -> float:
    """Returns a number from 0 to 1 of a row; true and false are 1 and 0."""
    value = row.get(field)
    said = {"true": 1, "false": 0}.get(str(value).lower(), value)
    expected = "a number from 0 to 1, true or false"
    try:
        found = float(said)
    except (TypeError, ValueError):
        raise row.error(field, value, expected) from None
    if not 0 <= found <= 1:
        raise row.error(field, value, expected)
    return found


def _rows(columns: Sequence[list[Any]], *, has_items: bool) -> Rows:
    score, label, weight, group, unit = map(np.array, columns)
    return Rows(score, label, weight, group, unit, has_items)


def of_table(path: Path, columns: dict[str, str]) -> Rows:
    """Returns the rows of a table with a score, a label and a group each, and maybe a weight and an item."""
    score, label, weight, group, unit = [], [], [], [], []
    place: dict[str, int] = {}
    for row in reading.opened(str(path), Columns()).rows:
        if isinstance(row, UserError):
            raise row
        score.append(_share(row, columns["score"]))
        label.append(_share(row, columns["label"]))
        weight.append(row.vote(columns["weight"], row.get(columns["weight"])) if columns["weight"] else 1.0)
        group.append(str(_given(row, columns["group"])))
        item = str(_given(row, columns["item"])) if columns["item"] else row.where
        unit.append(place.setdefault(item, len(place)))
    if not score:
        raise UserError(f"{path}: holds no rows")
    return _rows((score, label, weight, group, unit), has_items=bool(columns["item"]))


def _given(row: Row, field: str) -> Any:
    value = row.get(field)
    if value is None or not str(value).strip():
        raise row.error(field, value, "a name")
    return value


def of_records(records: Sequence[Record], how: OfRecords, where: str) -> Rows:
    """Returns records of votes as rows: for the option that is named, a row of label 1 for those who chose it, and one
    of label 0 for the others; both have the respondent's share of the option as their score."""
    score, label, weight, group, unit = [], [], [], [], []
    keys: list[list[str]] = []
    for r in records:
        name = r["groups"].get(how.group)
        if name is None or r["counts"] is None or how.option not in r["options"]:
            continue
        k = r["options"].index(how.option)
        for y, votes in ((1.0, r["counts"][k]), (0.0, sum(r["counts"]) - r["counts"][k])):
            score.append(r["probabilities"][k])
            label.append(y)
            weight.append(votes)
            group.append(name)
            unit.append(len(keys))
        keys.append(r.get("keys", []))
    if not keys:
        kinds = ", ".join(dict.fromkeys(kind for r in records for kind in r["groups"])) or "none"
        raise UserError(
            f"{where}: no record has votes, a group of kind {how.group!r} and the option {how.option!r}; kinds of "
            f"groups: {kinds}; options of the first record: {', '.join(records[0]['options'])}"
        )
    return _rows((score, label, weight, group, unit), has_items=True)._replace(shared=sharing(keys))


def _read(path: Path, said: Statement) -> tuple[Rows, Path | None]:
    """Returns the rows of a table, or of the records in a directory of results, and the file of these."""
    if not path.is_dir() or not any(path.rglob("*.json")):
        return of_table(path, said.columns), None
    if said.records is None:
        raise UserError(
            f"{said.path}: [records]: is not there; say which kind of groups and the share of which option of {path} "
            f"is meant: group and option"
        )
    results = Results(path)
    if results.kind == QUESTIONNAIRE:
        found = answers.read(path / answers.RECORDS)
        who = {r["respondent"] for r in found}
        if len(who) > 1:
            raise UserError(f"{path}: {len(who)} respondents answered; ask one alone into a directory of its own")
        return of_records(found, said.records, str(path)), path / answers.RECORDS
    if results.kind != RUN or results.file(f"{results.stages[-1]}/{METRICS_FILE}").get("kind"):
        raise UserError(f"{path}: holds no records of votes; expected a run on votes, answers, or a table")
    stage = results.stages[-1]
    file = path / stage / f"{results.value(f'{stage}/{METRICS_FILE}:split')}.jsonl"
    return of_records(read_jsonl(file), said.records, str(file)), file


def count(path: Path, said: Statement, resamples: int, reference: str | None = None) -> dict[str, Any]:
    """Returns all numbers of a table or of a run, with what is stated. JSON.

    Raises:
      UserError: a row is no such row, there is one group only, or so many that one must be named to compare with.
    """
    rows, file = _read(path, said)
    names = rows.groups
    if len(names) < 2:
        raise UserError(f"{path}: has one group, {', '.join(names)}; expected two or more")
    if reference is not None and reference not in names:
        raise UserError(f"--reference={reference}: no such group; there are {', '.join(names)}")
    if reference is None and len(names) > MOST_PAIRED:
        raise UserError(f"{path}: has {len(names)} groups; name the one to compare with: --reference={names[0]}")
    found = analysis.count(rows, list(said.metrics), said.threshold, resamples, reference)
    about = {"title": said.title, "table": path.name, "statement": said.metrics, "labels": LABELS}
    return found | about | ({"records": {str(file.relative_to(path)): files.sha256(file)}} if file else {})


def make(path: Path, said: Statement, out: Path, resamples: int, reference: str | None) -> Written:
    """Compares groups, and writes numbers and page; arguments and errors as of `count`."""
    found = count(path, said, resamples, reference)
    with files.storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / FAIRNESS, found)
    groups, gaps = page.tables(found, LABELS)
    lines, parts = page.verdict(found, LABELS), page.blocks(found, LABELS)
    return blocks.write(out, said.title, path.name, lines, parts, [("", groups), ("Gaps", gaps)])


def on_page(run: Path, said: Statement, resamples: int, reference: str | None) -> Written:
    """Writes a run's page again with a comparison of groups on it, and fairness.json, which the run's card shows;
    arguments and errors as of `count`."""
    found = count(run, said, resamples, reference)
    written = write_page(run, page.section(found, LABELS))
    files.write_json(run / FAIRNESS, found)
    return written
