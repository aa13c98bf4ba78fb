"""From the cells of a study to `study.json`: tables, yardsticks, subsets, comparisons, and what is missing."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from moral_jax.analysis import ceiling, metrics, pooled, summary
from moral_jax.analysis.table import concatenate, pad
from moral_jax.runs.records import Record
from moral_jax.study import compare, jobs
from moral_jax.study.jobs import DONE, Job
from moral_jax.study.pooled_rows import SEEDS_FROM, Entry, Scored, make_entries

GROUP_RESAMPLES = 1000


def _groups(records: list[Record]) -> Iterator[tuple[str, str, np.ndarray]]:
    """(kind, name, its rows) of every named subset that is large enough."""
    for kind in dict.fromkeys(k for r in records for k in r["groups"]):
        names = np.array([r["groups"].get(kind, "") for r in records])
        for name in sorted(set(names) - {""}):
            rows = np.flatnonzero(names == name)
            if len(rows) >= summary.SMALLEST_GROUP:
                yield kind, str(name), rows


def by_group(of_task: list[Entry]) -> list[dict[str, Any]]:
    """Cross-entropy of every entry on every subset, beside the entropy of its votes."""
    known = [e for e in of_task if e.scored]
    out = []
    for kind, name, rows in _groups(known[0].scored[0].records):
        w_RE = metrics.resamples(len(rows), GROUP_RESAMPLES, 0)
        floor = metrics.entropy_floor(known[0].scored[0].table.take(rows)).mean()
        by_entry = [np.stack([metrics.cross_entropy(s.table.take(rows)) for s in e.scored]) for e in known]
        spread = pooled.spread([ce_SE.mean(-1) for ce_SE in by_entry])
        of_entries = []
        for number, (e, ce_SE) in enumerate(zip(known, by_entry, strict=True)):
            d = pooled.over_seeds(ce_SE.mean(-1), ce_SE @ w_RE.T / len(rows), spread, SEEDS_FROM + number)
            of_entries.append(e.key | {"cross_entropy": pooled.interval(d)})
        out.append({"kind": kind, "name": name, "rows": len(rows), "floor": float(floor), "entries": of_entries})
    return out


def yardsticks(scored: list[Scored]) -> dict[str, dict[str, float]]:
    """Those of the first trained run on all training rows (or of any run), and other people asked the same."""
    whole = [s for s in scored if s.job.cell.kind == "train" and s.job.cell.share == 1]
    s = (whole or scored)[0]
    out = dict(s.numbers["yardsticks"])
    if all(r.get("second_counts") for r in s.records):
        second_EC = pad([r["second_counts"] for r in s.records], s.table.p_EC.shape[1])
        people, one = ceiling.second_panel(s.table, second_EC), np.ones((1, len(s.records)))
        out["second panel"] = {m: float(metrics.METRICS[m](people, one)[0]) for m in summary.YARDSTICK_METRICS}
        agree = second_EC.argmax(-1) == s.table.counts_EC.argmax(-1)  # their plurality itself, as Scruples counts it
        out["second panel"]["accuracy"] = float(agree.mean())
    return out


def _entry_numbers(e: Entry) -> dict[str, Any]:
    """An entry as JSON; without `metrics` where none of its cells is done."""
    out = e.key | {"planned": len(e.planned), "seeds": [s.job.cell.seed for s in e.scored], "metrics": {}}
    if e.scored:
        out["metrics"] = {name: pooled.interval(d) for name, d in e.draws.items()}
        out["reliability"] = summary.reliability(concatenate([s.table for s in e.scored]))
        out["train_rows"] = e.scored[0].about.get("data", {}).get("rows", {}).get("train")
    return out


def task_numbers(name: str, of_task: list[Job], resamples: int) -> dict[str, Any]:
    """All that the page says of a task."""
    rows = make_entries(of_task, resamples)
    out = {"name": name, "entries": [_entry_numbers(e) for e in rows]}
    scored = [s for e in rows for s in e.scored]
    if not scored:
        return out | {"rows": 0, "about": {}, "yardsticks": {}, "groups": [], "comparisons": []}
    about = scored[0].about.get("data", {})
    return out | {
        "rows": len(scored[0].records),
        "split": scored[0].numbers["split"],
        "about": {k: about[k] for k in ("task", "description", "citation", "licence") if k in about},
        "yardsticks": yardsticks(scored),
        "groups": by_group(rows),
        "comparisons": compare.comparisons(rows),
    }


def cells(all_jobs: list[Job]) -> list[dict[str, Any]]:
    """State of every cell."""
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
    """Returns the last lines of a cell that failed, or what is wrong with the files of one that is damaged."""
    if state == jobs.FAILED:
        return jobs.read_notes(job).get("tail", [])
    return [str(job.trouble)] if state == jobs.DAMAGED else []


def study(title: str, all_jobs: list[Job], resamples: int) -> dict[str, Any]:
    """`study.json`."""
    by_task: dict[str, list[Job]] = {}
    for job in all_jobs:
        by_task.setdefault(job.cell.task, []).append(job)
    return {
        "title": title,
        "resamples": resamples,
        "cells": cells(all_jobs),
        "tasks": [task_numbers(name, of_task, resamples) for name, of_task in by_task.items()],
    }
