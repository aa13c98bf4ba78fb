"""Collects the runs on texts and on replies of a study: means over seeds with intervals, differences row by row."""

from collections.abc import Callable
from typing import Any, NamedTuple

from moral_jax.analysis import replies, summary, texts
from moral_jax.analysis.bootstrap import Draws, interval
from moral_jax.runs import reply_records, text_records
from moral_jax.runs.quantities import TEXTS, Quantity
from moral_jax.runs.records import Record
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


class Kind(NamedTuple):
    """What differs between texts and replies."""

    statistics: Callable[[Job, list[Record]], dict[str, Any]]
    quantity: Callable[[str], Quantity]


KINDS = {
    text_records.KIND: Kind(
        lambda job, records: texts.statistics(texts.Texts(records), job.config.objective.beta), TEXTS.__getitem__
    ),
    reply_records.KIND: Kind(lambda _, records: replies.statistics(records), replies.quantity),
}


def kind_of(done: list[Job]) -> str | None:
    """Returns what finished cells of a task are of, if it is one of `KINDS`; else none."""
    kinds = {strict_json.read(job.stage / stored.METRICS).get("kind") for job in done}
    [kind] = kinds if len(kinds) == 1 else [None]
    return kind if kind in KINDS else None


def read(of_task: list[Job]) -> list[TextCell]:
    """Returns the finished cells of a task if they are of texts or replies; else none."""
    done = [job for job in of_task if jobs.is_done(job)]
    return [TextCell(job, *stored.read(job.run, job.stage_name)) for job in done] if done and kind_of(done) else []


def draws(done: list[TextCell], kind: str, resamples: int) -> dict[str, dict[str, Draws]]:
    """Returns the numbers of each cell by its name, all on the same resamples."""
    resampling = summary.resampling_of(done[0].records, resamples, 0)
    return {
        cell.job.cell.name: resampling.draws(KINDS[kind].statistics(cell.job, cell.records)) for cell in done
    }  # fmt: skip


def task_numbers(name: str, of_task: list[Job], done: list[TextCell], resamples: int) -> dict[str, Any]:
    """Returns all numbers of a task that the page needs.

    Args:
      done: its finished cells, at least one.

    Raises:
      UserError: cells were scored on different rows, or began with different files of a model.
    """
    check_same_rows(name, done)
    check_same_model(done)
    kind = done[0].numbers["kind"]
    drawn = draws(done, kind, resamples)
    planned = planned_entries(of_task)
    cells_of = [[cell for cell in done if cell.job in of_entry] for of_entry in planned.values()]
    all_means = over_seeds([[drawn[cell.job.cell.name] for cell in cells] for cells in cells_of]).means
    entries: list[dict[str, Any]] = []
    first = next(means for means in all_means if means)  # of the first entry that is done
    for (row, training, share), cells, means in zip(planned, cells_of, all_means, strict=True):
        key = {"row": row, "training": training, "share": share, "planned": len(planned[row, training, share])}
        metrics = {m: interval(d, KINDS[kind].quantity(m).limits) for m, d in means.items()}
        minus = {m: interval(means[m] - first[m]) for m in means if means is not first and m in first}
        entries.append(
            key | {"seeds": [cell.job.cell.seed for cell in cells], "metrics": metrics, "minus_first": minus}
        )
    about = done[0].about.get("data", {})
    return {
        "name": name,
        "kind": kind,
        "entries": entries,
        "rows": len(done[0].records),
        "split": done[0].numbers["split"],
        "about": {k: about[k] for k in ("task", "description", "citation", "licence") if k in about},
    }
