"""Cells that are done, pooled over seeds: the rows of the tables."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import metrics, pooled, summary
from moral_jax.analysis.calibrate import Calibration
from moral_jax.analysis.table import Table, from_records
from moral_jax.runs.records import Record
from moral_jax.study import jobs, stored
from moral_jax.study.jobs import Job
from moral_jax.study.spec import ZERO_SHOT
from moral_jax.types import UserError

MEANS = ("cross_entropy", "dirichlet_nll", "dirichlet_nll_per_vote", "total_variation", "accuracy")
UNUSED = ("question", "title", "text")  # a hundred cells with their posts would take a gigabyte
CHUNK = 1000  # resamples held at once: as many rows' weights
SEEDS_FROM = 1_000_000  # random streams of the seeds' errors; those of the rows' resamples begin at 0


class Scored(NamedTuple):
    """A cell that is done."""

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
    scored: list[Scored]
    draws: dict[str, pooled.Draws]  # by metric; empty where nothing is done

    @property
    def key(self) -> dict[str, Any]:
        return {"row": self.row, "training": self.training, "share": self.share}

    @property
    def one_seed(self) -> bool:
        """Whether another seed would have come out otherwise, but there is none: intervals do not hold that."""
        return self.training not in (ZERO_SHOT, "") and len(self.scored) == 1


def read(job: Job) -> Scored:
    """Reads what a cell that is done left."""
    numbers, about, rows = stored.read(job.run, job.stage_name)
    records = [{k: v for k, v in row.items() if k not in UNUSED} for row in rows]
    return Scored(job, numbers, about, records, from_records(records))


def check_same_rows(task: str, scored: list[Scored]) -> None:
    """Numbers are compared row by row, so the cells of a task must have been scored on the same rows and votes."""
    first, *others = scored
    want = [(r["id"], r["counts"]) for r in first.records]
    for other in others:
        got = [(r["id"], r["counts"]) for r in other.records]
        if got == want:
            continue
        at = next((i for i, (x, y) in enumerate(zip(want, got, strict=False)) if x != y), min(len(want), len(got)))
        a, b = (repr(x[at]) if at < len(x) else "no row" for x in (want, got))
        raise UserError(
            f"task {task!r}: cells {first.job.cell.name} and {other.job.cell.name} were scored on different rows: row "
            f"{at + 1} is {a} in the first and {b} in the second. Give both the same config.task, or tasks of their own"
        )


def check_same_model(scored: list[Scored]) -> None:
    """A row of the tables is one model, so its cells must have begun with the same files of it."""
    first_of: dict[str, Scored] = {}
    for s in scored:
        first = first_of.setdefault(s.job.cell.row, s)
        for kind in ("sha256", "settings_sha256"):
            want, got = (of.about.get("model", {}).get(kind) for of in (first, s))
            if isinstance(want, dict) and isinstance(got, dict) and want != got:
                names = ", ".join(name for name in {**want, **got} if want.get(name) != got.get(name))
                raise UserError(
                    f"model {s.job.cell.row!r}: cells {first.job.cell.name} and {s.job.cell.name} began with different "
                    f"files: {names}. Run one of them again, or give each model a row of its own"
                )


def row_values(s: Scored) -> dict[str, np.ndarray]:
    """Every number that is a mean over rows, [E] each; those alone that the run itself reports."""
    values = {name: metrics.ROW_METRICS[name](s.table) for name in MEANS}
    if s.numbers.get("calibration"):
        values |= summary.calibrated(s.table, Calibration(**s.numbers["calibration"]))
    if "option_mass" in s.numbers["metrics"] and all(r["option_mass"] is not None for r in s.records):
        values["option_mass"] = np.array([r["option_mass"] for r in s.records])
    if "legacy_dirichlet" in s.numbers["metrics"]:
        values |= summary.legacy(s.records, s.table)
    return values


def _weights(rows: int, resamples: int) -> Iterator[np.ndarray]:
    """One of each row, then the bootstrap's weights in chunks."""
    yield np.ones((1, rows))
    for seed, start in enumerate(range(0, resamples, CHUNK)):
        yield metrics.resamples(rows, min(CHUNK, resamples - start), seed)


def _resample(scored: list[Scored], resamples: int) -> list[dict[str, np.ndarray]]:
    """Of each cell its numbers, [1 + R]: on all rows, then on each resample; the same resamples for every cell."""
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
    """The rows of a task's tables, in the order in which the study names them."""
    done = [read(job) for job in of_task if jobs.is_done(job)]
    if done:
        check_same_rows(of_task[0].cell.task, done)
        check_same_model(done)
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
            name: pooled.over_seeds(x_SR[:, 0], x_SR[:, 1:], spreads[name], SEEDS_FROM + number)
            for name, x_SR in x.items()
        }
        out.append(Entry(*key, planned[key], cells_of[number], draws))
    return out


def _stack(of_seeds: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """[S, 1 + R] of every number that all seeds have."""
    names = [name for name in of_seeds[0] if all(name in x for x in of_seeds)] if of_seeds else []
    return {name: np.stack([x[name] for x in of_seeds]) for name in names}
