"""Pools the finished cells of a study over seeds: the rows of the tables."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from moral_jax.analysis import legacy, pooled, summary, yardsticks
from moral_jax.analysis.bootstrap import Draws, Resampling, Statistic
from moral_jax.analysis.calibrate import Calibration
from moral_jax.analysis.table import Table, from_records
from moral_jax.runs.records import Record
from moral_jax.study import jobs, stored
from moral_jax.study.jobs import Job
from moral_jax.study.spec import ZERO_SHOT
from moral_jax.types import UserError

METRICS = ("cross_entropy", "dirichlet_nll", "dirichlet_nll_per_vote", "total_variation", "accuracy", "macro_f1",
           "squared_distance", "jensen_shannon_distance", "wasserstein")  # fmt: skip
UNUSED = ("question", "title", "text")  # dropped: the posts of a hundred cells would take a gigabyte
FIRST_SEED_STREAM = 1_000_000  # random streams of the seeds' errors; that of the rows' resamples is 0
FEW = 4  # degrees of freedom; with fewer, an interval over seeds is so wide that their values say more


class AnyCell(Protocol):
    """A finished cell, whatever was scored."""

    @property
    def job(self) -> Job: ...
    @property
    def about(self) -> dict[str, Any]: ...
    @property
    def records(self) -> list[Record]: ...


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
    draws: dict[str, Draws]  # by metric; empty if no cell is done
    by_seed: dict[str, list[float]]  # of the metrics whose spread over seeds has FEW degrees of freedom

    @property
    def key(self) -> dict[str, Any]:
        return {"row": self.row, "training": self.training, "share": self.share}

    @property
    def one_seed(self) -> bool:
        """Returns true if seeds would differ but only one was run, so that intervals leave out their spread."""
        return self.training not in (ZERO_SHOT, "") and len(self.scored) == 1


def read(job: Job) -> ScoredCell:
    """Reads the files of a finished cell."""
    numbers, about, rows = stored.read(job.run, job.stage_name)
    records = [{k: v for k, v in row.items() if k not in UNUSED} for row in rows]
    return ScoredCell(job, numbers, about, records, from_records(records))


def check_same_rows(task: str, scored: Sequence[AnyCell]) -> None:
    """Checks that all cells of a task were scored on the same rows and votes, as comparisons are row by row.

    Raises:
      UserError: names two cells and the first row in which they differ.
    """
    first, *others = scored
    expected = [(r["id"], r.get("counts", ())) for r in first.records]
    for other in others:
        actual = [(r["id"], r.get("counts", ())) for r in other.records]
        if actual == expected:
            continue
        shortest = min(len(expected), len(actual))
        at = next((i for i, (x, y) in enumerate(zip(expected, actual, strict=False)) if x != y), shortest)
        a, b = (repr(x[at]) if at < len(x) else "no row" for x in (expected, actual))
        raise UserError(
            f"task {task!r}: cells {first.job.cell.name} and {other.job.cell.name} were scored on different rows: row "
            f"{at + 1} is {a} in the first and {b} in the second. Give both the same config.task, or tasks of their own"
        )


def _files(of: AnyCell, kind: str) -> dict[str, str] | None:
    """Returns the hashes of the files that a cell began with, those of the cells before it left out."""
    hashes, before = of.about.get("model", {}).get(kind), of.job.before
    while before is not None and isinstance(hashes, dict):
        hashes = {name: h for name, h in hashes.items() if not name.startswith(f"{before.run.name}/")}
        before = before.before
    return hashes


def check_same_model(scored: Sequence[AnyCell]) -> None:
    """Checks that the cells of a row of the tables began with the same files of a model.

    Raises:
      UserError: names two cells and the files that differ.
    """
    first_of: dict[str, AnyCell] = {}
    for s in scored:
        first = first_of.setdefault(s.job.cell.row, s)
        for kind in ("sha256", "settings_sha256"):
            want, got = (_files(of, kind) for of in (first, s))
            if isinstance(want, dict) and isinstance(got, dict) and want != got:
                names = ", ".join(name for name in {**want, **got} if want.get(name) != got.get(name))
                raise UserError(
                    f"model {s.job.cell.row!r}: cells {first.job.cell.name} and {s.job.cell.name} began with different "
                    f"files: {names}. Run one of them again, or give each model a row of its own"
                )


def numbers_of(s: ScoredCell, of: yardsticks.Rows) -> dict[str, np.ndarray | Statistic]:
    """Returns the numbers of a cell that the run itself reports too, as arrays [E] or statistics of row weights."""
    known = summary.statistics(s.table)
    values = {name: known[name] for name in METRICS if name in known} | yardsticks.relative(s.table, of)
    if s.numbers.get("calibration"):
        values |= summary.calibrated(s.table, Calibration(**s.numbers["calibration"]))
    if "option_mass" in s.numbers["metrics"] and all(r["option_mass"] is not None for r in s.records):
        values["option_mass"] = np.array([r["option_mass"] for r in s.records])
    if "legacy_dirichlet" in s.numbers["metrics"]:
        values |= legacy.values(s.records, s.table)
    return values


class Pool(NamedTuple):
    """The rows of a task's tables, and what they are measured against."""

    entries: list[Entry]
    yardsticks: dict[str, dict[str, Draws]]  # by name and metric; empty where nothing is done
    rows: yardsticks.Rows | None


def planned_entries(of_task: list[Job]) -> dict[tuple[str, str, float], list[Job]]:
    """Returns the jobs of each row of a task's tables, by model, training and share, as the study names them."""
    planned: dict[tuple[str, str, float], list[Job]] = {}
    for job in of_task:
        planned.setdefault((job.cell.row, job.cell.training, job.cell.share), []).append(job)
    return planned


class Seeds(NamedTuple):
    """The numbers of each entry: of every seed, and their means."""

    of_seeds: list[dict[str, list[Draws]]]
    spreads: dict[str, pooled.Spread]  # pooled over all entries
    means: list[dict[str, Draws]]


def over_seeds(of_entries: list[list[dict[str, Draws]]]) -> Seeds:
    """Returns the means over seeds of all numbers that are compared.

    Args:
      of_entries: the numbers of each seed of each entry, all from the same resampling.
    """
    of_seeds = [_stack(of_cells) for of_cells in of_entries]
    spreads = {
        name: pooled.spread([np.array([d.value for d in x[name]]) for x in of_seeds if name in x])
        for name in dict.fromkeys(name for x in of_seeds for name in x)
    }
    means = [
        {name: pooled.over_seeds(ds, spreads[name], FIRST_SEED_STREAM + number) for name, ds in x.items()}
        for number, x in enumerate(of_seeds)
    ]
    return Seeds(of_seeds, spreads, means)


def make_entries(of_task: list[Job], resamples: int) -> Pool:
    """Returns the rows of a task's tables, in the order in which the study names them."""
    done = [read(job) for job in of_task if jobs.is_done(job)]
    planned = planned_entries(of_task)
    if not done:
        return Pool([Entry(*key, cells, [], {}, {}) for key, cells in planned.items()], {}, None)
    check_same_rows(of_task[0].cell.task, done)
    check_same_model(done)
    first = next((s for s in done if all("keys" in r for r in s.records)), done[0])
    of = yardsticks.rows(first.table, yardsticks.second_votes(first.records, first.table.p_EC.shape[1]))
    resampling = summary.resampling_of(first.records, resamples, 0)
    drawn = _draws(done, of, resampling)
    cells_of = [[s for s in done if s.job in cells] for cells in planned.values()]
    seeds = over_seeds([[drawn[s.job.cell.name] for s in scored] for scored in cells_of])
    entries = []
    for key, scored, x, draws in zip(planned, cells_of, seeds.of_seeds, seeds.means, strict=True):
        few = [name for name, ds in x.items() if len(ds) > 1 and seeds.spreads[name].freedom < FEW]
        entries.append(Entry(*key, planned[key], scored, draws, {n: [d.value for d in x[n]] for n in few}))
    return Pool(entries, {name: _of_yardstick(losses, resampling) for name, losses in of.by_name.items()}, of)


def _of_yardstick(losses: dict[str, np.ndarray], resampling: Resampling) -> dict[str, Draws]:
    """Returns draws of a yardstick's losses, on the resamples of the models."""
    return resampling.draws({name: losses[name] for name in ("cross_entropy", "dirichlet_nll") if name in losses})


def _draws(done: list[ScoredCell], of: yardsticks.Rows, resampling: Resampling) -> dict[str, dict[str, Draws]]:
    """Returns draws of every number by cell; all cells share the resamples, which are made once."""
    by_name = {(s.job.cell.name, name): x for s in done for name, x in numbers_of(s, of).items()}
    out: dict[str, dict[str, Draws]] = {s.job.cell.name: {} for s in done}
    flat = resampling.draws({f"{place}": x for place, x in enumerate(by_name.values())})
    for (cell, name), d in zip(by_name, flat.values(), strict=True):
        out[cell][name] = d
    return out


def _stack(of_seeds: list[dict[str, Draws]]) -> dict[str, list[Draws]]:
    """Returns every number that all seeds have."""
    names = [name for name in of_seeds[0] if all(name in x for x in of_seeds)] if of_seeds else []
    return {name: [x[name] for x in of_seeds] for name in names}
