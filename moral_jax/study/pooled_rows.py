"""Pools the finished cells of a study over seeds: the rows of the tables."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import metrics, pooled, summary
from moral_jax.analysis.calibrate import Calibration
from moral_jax.analysis.table import Table, from_records
from moral_jax.runs.records import Record, read_jsonl
from moral_jax.study import jobs
from moral_jax.study.jobs import Job
from moral_jax.study.spec import ZERO_SHOT
from moral_jax.types import UserError

MEANS = ("cross_entropy", "dirichlet_nll", "dirichlet_nll_per_vote", "total_variation", "accuracy")
UNUSED = ("question", "title", "text")  # dropped: the posts of a hundred cells would take a gigabyte
CHUNK = 1000  # resamples in memory at once; each has one weight per row
FIRST_SEED_STREAM = 1_000_000  # random streams of the seeds' errors; those of the rows' resamples begin at 0


class ScoredCell(NamedTuple):
    """A finished cell with its numbers and records."""

    job: Job
    numbers: dict[str, Any]  # metrics.json
    about: dict[str, Any]  # provenance.json
    records: list[Record]
    table: Table


class Entry(NamedTuple):
    """All seeds of a model with one training: a row of the tables."""

    row: str
    training: str
    share: float
    planned: list[Job]
    scored: list[ScoredCell]
    draws: dict[str, pooled.Draws]  # by metric; empty if no cell is done

    @property
    def key(self) -> dict[str, Any]:
        return {"row": self.row, "training": self.training, "share": self.share}

    @property
    def one_seed(self) -> bool:
        """Returns true if seeds would differ but only one was run, so that intervals leave out their spread."""
        return self.training not in (ZERO_SHOT, "") and len(self.scored) == 1


def read(job: Job) -> ScoredCell:
    """Reads the files of a finished cell."""
    numbers = json.loads((job.stage / "metrics.json").read_text(encoding="utf-8"))
    provenance = job.run / "provenance.json"
    about = json.loads(provenance.read_text(encoding="utf-8")) if provenance.exists() else {}
    rows = read_jsonl(job.stage / f"{numbers['split']}.jsonl")
    records = [{k: v for k, v in row.items() if k not in UNUSED} for row in rows]
    return ScoredCell(job, numbers, about, records, from_records(records))


def check_same_rows(task: str, scored: list[ScoredCell]) -> None:
    """Checks that all cells of a task were scored on the same rows and votes, as comparisons are row by row.

    Raises:
      UserError: names two cells and the first row in which they differ.
    """
    first, *others = scored
    expected = [(r["id"], r["counts"]) for r in first.records]
    for other in others:
        actual = [(r["id"], r["counts"]) for r in other.records]
        if actual == expected:
            continue
        shortest = min(len(expected), len(actual))
        at = next((i for i, (x, y) in enumerate(zip(expected, actual, strict=False)) if x != y), shortest)
        a, b = (repr(x[at]) if at < len(x) else "no row" for x in (expected, actual))
        raise UserError(
            f"task {task!r}: cells {first.job.cell.name} and {other.job.cell.name} were scored on different rows: row "
            f"{at + 1} is {a} in the first and {b} in the second. Give both the same config.task, or tasks of their own"
        )


def row_values(s: ScoredCell) -> dict[str, np.ndarray]:
    """Returns every metric that is a mean over rows, [E] each; only those that the run itself reports."""
    values = {name: metrics.ROW_METRICS[name](s.table) for name in MEANS}
    if s.numbers.get("calibration"):
        values |= summary.calibrated(s.table, Calibration(**s.numbers["calibration"]))
    if "option_mass" in s.numbers["metrics"]:
        values["option_mass"] = np.array([r["option_mass"] for r in s.records])
    if "legacy_dirichlet" in s.numbers["metrics"]:
        values |= summary.legacy(s.records, s.table)
    return values


def _weights(rows: int, resamples: int) -> Iterator[np.ndarray]:
    """Yields weights of the rows: all ones, then those of the bootstrap in chunks."""
    yield np.ones((1, rows))
    for seed, start in enumerate(range(0, resamples, CHUNK)):
        yield metrics.resamples(rows, min(CHUNK, resamples - start), seed)


def _resample(scored: list[ScoredCell], resamples: int) -> list[dict[str, np.ndarray]]:
    """Returns the metrics of each cell, [1 + R]: on all rows, then on each resample. All cells share the resamples."""
    E = len(scored[0].records)
    by_cell = [row_values(s) for s in scored]
    out: list[dict[str, list[np.ndarray]]] = [{} for _ in scored]
    for w_RE in _weights(E, resamples):
        for s, values, drawn in zip(scored, by_cell, out, strict=True):
            for name, v_E in values.items():
                drawn.setdefault(name, []).append(w_RE @ v_E / E)
            drawn.setdefault("macro_f1", []).append(metrics.macro_f1(s.table, w_RE))
    return [{name: np.concatenate(parts) for name, parts in drawn.items()} for drawn in out]


def make_entries(of_task: list[Job], resamples: int) -> list[Entry]:
    """Returns the rows of a task's tables in the order of the study."""
    done = [read(job) for job in of_task if jobs.is_done(job)]
    if done:
        check_same_rows(of_task[0].cell.task, done)
    sampled = dict(zip((s.job.cell.name for s in done), _resample(done, resamples) if done else [], strict=True))
    planned: dict[tuple[str, str, float], list[Job]] = {}
    for job in of_task:
        planned.setdefault((job.cell.row, job.cell.training, job.cell.share), []).append(job)
    cells_of = [[s for s in done if s.job in cells] for cells in planned.values()]
    of_seeds = [_stack([sampled[s.job.cell.name] for s in scored]) for scored in cells_of]
    spreads = {
        name: pooled.spread([x[name][:, 0] for x in of_seeds if name in x])
        for name in dict.fromkeys(name for x in of_seeds for name in x)
    }
    out = []
    for number, (key, x) in enumerate(zip(planned, of_seeds, strict=True)):
        draws = {
            name: pooled.over_seeds(x_SR[:, 0], x_SR[:, 1:], spreads[name], FIRST_SEED_STREAM + number)
            for name, x_SR in x.items()
        }
        out.append(Entry(*key, planned[key], cells_of[number], draws))
    return out


def _stack(of_seeds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Stacks the metrics that all seeds have, [S, 1 + R] each."""
    names = [name for name in of_seeds[0] if all(name in x for x in of_seeds)] if of_seeds else []
    return {name: np.stack([x[name] for x in of_seeds]) for name in names}
