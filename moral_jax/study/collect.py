"""Collects the cells of a study into `study.json`: tables, yardsticks, subsets, comparisons, and missing cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from moral_jax.analysis import metrics, pooled, share_calibration, summary
from moral_jax.analysis.bootstrap import estimate
from moral_jax.analysis.table import concatenate
from moral_jax.study import arms, compare, jobs, texts
from moral_jax.study.jobs import DONE, Job
from moral_jax.study.pooled_rows import FIRST_SEED_STREAM, Entry, Pool, ScoredCell, make_entries
from moral_jax.study.spec import Measure


def by_group(pool: Pool, resamples: int) -> list[dict[str, Any]]:
    """Returns the cross-entropy of every entry on every subset, beside that of the true shares."""
    known = [e for e in pool.entries if e.scored]
    assert pool.rows is not None, "entries are scored"
    first, out = known[0].scored[0], []
    for kind, named in summary.grouped(first.records).items():
        for name, rows in named.items():
            resampling = summary.resampling_of([first.records[i] for i in rows], resamples, 0)
            values = {s.job.cell.name: metrics.cross_entropy(s.table.take(rows)) for e in known for s in e.scored}
            drawn = resampling.draws(values)
            of_entries = [[drawn[s.job.cell.name] for s in e.scored] for e in known]
            spread = pooled.spread([np.array([d.value for d in ds]) for ds in of_entries])
            means = [pooled.over_seeds(ds, spread, FIRST_SEED_STREAM + i) for i, ds in enumerate(of_entries)]
            ce = [{"cross_entropy": estimate("cross_entropy", mean)} for mean in means]
            numbers = [e.key | e_ce for e, e_ce in zip(known, ce, strict=True)]
            about = {"kind": kind, "name": name, "rows": len(rows)}
            out.append(about | pool.rows.best_in(rows) | {"entries": numbers})
    return out


def yardstick_numbers(scored: list[ScoredCell]) -> dict[str, dict[str, float]]:
    """Returns the yardsticks of the first run trained on all rows, or else of any run."""
    whole = [s for s in scored if s.job.cell.kind == "train" and s.job.cell.share == 1]
    s = (whole or scored)[0]
    return s.numbers["yardsticks"]


def _entry_numbers(e: Entry) -> dict[str, Any]:
    """Returns an entry as JSON; `metrics` is empty if none of its cells is done."""
    out = e.key | {"planned": len(e.planned), "seeds": [s.job.cell.seed for s in e.scored], "metrics": {}}
    if e.scored:
        seeds = {name: {"seeds": values} for name, values in e.by_seed.items()}
        out["metrics"] = {name: estimate(name, d) | seeds.get(name, {}) for name, d in e.draws.items()}
        together = concatenate([s.table for s in e.scored])
        out["metrics"]["share_calibration"] = share_calibration.with_null(together, 0)
        out["reliability"] = share_calibration.reliability(together)
        out["train_rows"] = e.scored[0].about.get("data", {}).get("rows", {}).get("train")
    return out


def task_numbers(name: str, of_task: list[Job], resamples: int) -> dict[str, Any]:
    """Returns all numbers of a task that the page needs."""
    if of_texts := texts.read(of_task):
        return texts.task_numbers(name, of_task, of_texts, resamples)
    pool = make_entries(of_task, resamples)
    out = {"name": name, "entries": [_entry_numbers(e) for e in pool.entries]}
    scored = [s for e in pool.entries for s in e.scored]
    if not scored:
        nothing = {"rows": 0, "about": {}, "yardsticks": {}, "groups": [], "comparisons": [], "lowest": {}, "same": []}
        return out | nothing
    about = scored[0].about.get("data", {})
    return out | {
        "rows": len(scored[0].records),
        "split": scored[0].numbers["split"],
        "about": {k: about[k] for k in ("task", "description", "citation", "licence") if k in about},
        "keys_known": any(all("keys" in r for r in s.records) for s in scored),
        "yardsticks": yardstick_numbers(scored),
        "votes_curve": _votes_curve(pool),
        "groups": by_group(pool, resamples),
        "comparisons": compare.comparisons(pool),
        "lowest": compare.lowest(pool),
        "same": compare.same(pool),
    }


def _votes_curve(pool: Pool) -> list[float] | None:
    """Returns the cross-entropy of m votes of the second panel, m = 0, 1, ...; None without one."""
    curve_EM = pool.rows.votes_curve_EM if pool.rows else None
    return None if curve_EM is None else curve_EM.mean(0).tolist()


def cells(all_jobs: list[Job]) -> list[dict[str, Any]]:
    """Returns the state of every cell."""
    out = []
    for job in all_jobs:
        c, notes = job.cell, jobs.read_notes(job)
        state = jobs.state(job)
        out.append(
            {"name": c.name, "row": c.row, "task": c.task, "training": c.training, "seed": c.seed, "share": c.share}
            | {"state": state, "seconds": notes.get("seconds") if state == DONE else None}
            | {"tail": _last_words(job, state)}
        )
    return out


def _last_words(job: Job, state: str) -> list[str]:
    """Returns the last lines of a cell that failed, or why another does not count or begin."""
    if state == jobs.FAILED:
        return jobs.read_notes(job).get("tail", [])
    if state == jobs.STALE:
        return [str(jobs.stale(job))]
    if state == jobs.WAITING and job.before:
        return [f"for {job.before.cell.name}, which is {jobs.state(job.before)}"]
    return [str(job.trouble)] if state == jobs.DAMAGED else []


def study(
    title: str,
    all_jobs: list[Job],
    resamples: int,
    measures: Sequence[Measure] = (),
    contrasts: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Returns the content of `study.json`; arguments as the fields of a `Study`."""
    by_task: dict[str, list[Job]] = {}
    for job in all_jobs:
        by_task.setdefault(job.cell.task, []).append(job)
    return {
        "title": title,
        "resamples": resamples,
        "cells": cells(all_jobs),
        "arms": arms.numbers(all_jobs, resamples, measures, contrasts) if measures else None,
        "tasks": [task_numbers(name, of_task, resamples) for name, of_task in by_task.items()],
    }
