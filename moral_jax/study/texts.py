"""Collects the runs on texts of a study: means over seeds with intervals, and differences row by row."""

from typing import Any, NamedTuple

from moral_jax.analysis import summary, texts
from moral_jax.analysis.bootstrap import interval
from moral_jax.runs.quantities import TEXTS
from moral_jax.runs.records import Record
from moral_jax.runs.text_records import KIND
from moral_jax.runtime import strict_json
from moral_jax.study import jobs, stored
from moral_jax.study.jobs import Job
from moral_jax.study.pooled_rows import check_same_model, check_same_rows, over_seeds, planned_entries


class TextCell(NamedTuple):
    """A finished cell with its numbers and records."""

    job: Job
    numbers: dict[str, Any]  # metrics.json
    about: dict[str, Any]  # provenance.json
    records: list[Record]


def read(of_task: list[Job]) -> list[TextCell]:
    """Returns the finished cells of a task if they are of texts; else none."""
    done = [job for job in of_task if jobs.is_done(job)]
    if any(strict_json.read(job.stage / stored.METRICS).get("kind") != KIND for job in done):
        return []
    return [TextCell(job, *stored.read(job.run, job.stage_name)) for job in done]


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
    planned = planned_entries(of_task)
    cells_of = [[cell for cell in done if cell.job in of_entry] for of_entry in planned.values()]
    all_means = over_seeds([[drawn[cell.job.cell.name] for cell in cells] for cells in cells_of]).means
    entries: list[dict[str, Any]] = []
    first = next(means for means in all_means if means)  # of the first entry that is done
    for (row, training, share), cells, means in zip(planned, cells_of, all_means, strict=True):
        key = {"row": row, "training": training, "share": share, "planned": len(planned[row, training, share])}
        metrics = {m: interval(d, TEXTS[m].limits) for m, d in means.items()}
        minus = {m: interval(means[m] - first[m]) for m in means if means is not first and m in first}
        entries.append(
            key | {"seeds": [cell.job.cell.seed for cell in cells], "metrics": metrics, "minus_first": minus}
        )
    about = done[0].about.get("data", {})
    return {
        "name": name,
        "kind": KIND,
        "entries": entries,
        "rows": len(done[0].records),
        "split": done[0].numbers["split"],
        "about": {k: about[k] for k in ("task", "description", "citation", "licence") if k in about},
    }
