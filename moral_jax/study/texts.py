"""Collects the runs on texts of a study: means over seeds with intervals, and differences row by row."""

from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import pooled, summary, texts
from moral_jax.analysis.bootstrap import Draws, interval
from moral_jax.runs.quantities import TEXTS
from moral_jax.runs.records import Record
from moral_jax.runs.text_records import KIND
from moral_jax.study import jobs, stored
from moral_jax.study.jobs import Job
from moral_jax.study.pooled_rows import FIRST_SEED_STREAM, check_same_model, check_same_rows


class TextCell(NamedTuple):
    """A finished cell with its numbers and records."""

    job: Job
    numbers: dict[str, Any]  # metrics.json
    about: dict[str, Any]  # provenance.json
    records: list[Record]


def read(of_task: list[Job]) -> list[TextCell]:
    """Returns the finished cells of a task if they are of texts; else none."""
    done = [(job, stored.read(job.run, job.stage_name)) for job in of_task if jobs.is_done(job)]
    if any(found.numbers.get("kind") != KIND for _, found in done):
        return []
    return [TextCell(job, *found) for job, found in done]


def _of_seeds(cells: list[TextCell], drawn: dict[str, dict[str, Draws]]) -> dict[str, list[Draws]]:
    """Returns every number that all seeds of an entry have."""
    of_cells = [drawn[cell.job.cell.name] for cell in cells]
    names = [name for name in of_cells[0] if all(name in of for of in of_cells)] if of_cells else []
    return {name: [of[name] for of in of_cells] for name in names}


def task_numbers(name: str, of_task: list[Job], done: list[TextCell], resamples: int) -> dict[str, Any]:
    """Returns all numbers of a task that the page needs.

    Args:
      done: its finished cells, at least one.

    Raises:
      UserError: cells were scored on different rows, or began with different files of a model.
    """
    check_same_rows(name, done)
    check_same_model(done)
    resampling = summary.resampling_of(done[0].records, resamples, 0)
    drawn = {
        cell.job.cell.name: resampling.draws(
            texts.statistics(texts.Texts(cell.records), cell.job.config.objective.beta)
        )
        for cell in done
    }
    planned: dict[tuple[str, str, float], list[Job]] = {}
    for job in of_task:
        planned.setdefault((job.cell.row, job.cell.training, job.cell.share), []).append(job)
    cells_of = [[cell for cell in done if cell.job in of_entry] for of_entry in planned.values()]
    of_seeds = [_of_seeds(cells, drawn) for cells in cells_of]
    spreads = {
        metric: pooled.spread([np.array([d.value for d in of[metric]]) for of in of_seeds if metric in of])
        for metric in dict.fromkeys(metric for of in of_seeds for metric in of)
    }
    entries: list[dict[str, Any]] = []
    first: dict[str, Draws] = {}  # of the first entry that is done
    for number, ((row, training, share), cells, of) in enumerate(zip(planned, cells_of, of_seeds, strict=True)):
        means = {m: pooled.over_seeds(ds, spreads[m], FIRST_SEED_STREAM + number) for m, ds in of.items()}
        key = {"row": row, "training": training, "share": share, "planned": len(planned[row, training, share])}
        metrics = {m: interval(d, TEXTS[m].limits) for m, d in means.items()}
        minus = {m: interval(means[m] - first[m]) for m in means if m in first}
        entries.append(
            key | {"seeds": [cell.job.cell.seed for cell in cells], "metrics": metrics, "minus_first": minus}
        )
        first = first or means
    about = done[0].about.get("data", {})
    return {
        "name": name,
        "kind": KIND,
        "entries": entries,
        "rows": len(done[0].records),
        "split": done[0].numbers["split"],
        "about": {k: about[k] for k in ("task", "description", "citation", "licence") if k in about},
    }
