"""Makes the table of arms: what each way of training ends in, in numbers of several tasks, and the differences.

An arm is the `training` of the cells that are measured. Each measure is computed on one subset of the rows of its task,
with the same resamples for every arm, so that differences are paired by row.
"""

import math
from collections.abc import Sequence
from typing import Any

from moral_jax.analysis.bootstrap import Draws, interval
from moral_jax.study import stored, texts
from moral_jax.study.jobs import Job
from moral_jax.study.pooled_rows import check_same_rows, over_seeds
from moral_jax.study.spec import Measure
from moral_jax.study.texts import TextCell
from moral_jax.types import UserError


def _subset(cell: TextCell, group: str) -> TextCell:
    """Returns a cell with the records of one subset.

    Raises:
      UserError: no row is in it.
    """
    rows = [r for r in cell.records if not group or group in r["groups"].values()]
    if not rows:
        raise UserError(f"{cell.job.run}: no row is in the subset {group!r}, which a measure of the study names")
    return cell._replace(records=rows)


def _means(
    measure: Measure, of_task: list[Job], resamples: int
) -> tuple[dict[str, Draws], dict[str, dict[int, float]]]:
    """Returns the mean of a measure over the seeds of each arm, and its values by seed."""
    done = [_subset(cell, measure.group) for cell in texts.read(of_task)]
    if not done:
        return {}, {}
    check_same_rows(measure.task, done)
    drawn = texts.draws(done, done[0].numbers["kind"], resamples)
    arms = list(dict.fromkeys(cell.job.cell.training for cell in done))
    cells_of = [[cell for cell in done if cell.job.cell.training == arm] for arm in arms]
    if missing := [c.job for c in done if measure.metric not in drawn[c.job.cell.name]]:
        known = ", ".join(drawn[missing[0].cell.name])
        raise UserError(f"{missing[0].run}: has no number {measure.metric!r}, which a measure names; it has {known}")
    one = [[{measure.metric: drawn[c.job.cell.name][measure.metric]} for c in cells] for cells in cells_of]
    means = [found[measure.metric] for found in over_seeds(one).means]
    by_seed = {
        arm: {c.job.cell.seed: drawn[c.job.cell.name][measure.metric].value for c in cells}
        for arm, cells in zip(arms, cells_of, strict=True)
    }
    return dict(zip(arms, means, strict=True)), by_seed


def _limits(measure: Measure, of_task: list[Job]) -> tuple[float, float]:
    """Returns between which values a measure lies."""
    if measure.limits:
        return measure.limits
    done = texts.read(of_task)
    return texts.KINDS[done[0].numbers["kind"]].quantity(measure.metric).limits if done else (-math.inf, math.inf)


def _stages(of_arm: list[Job]) -> list[dict[str, Any]]:
    """Returns the stages of an arm in their order, and what tokens each has read in training, seed by seed."""
    chains = []
    for job in of_arm:
        chain: list[Job] = []
        stage = job.before
        while stage is not None:
            chain.insert(0, stage)
            stage = stage.before
        chains.append(chain)
    if not all(len(chain) == len(chains[0]) for chain in chains):
        return []
    return [
        {
            "name": stages[0].cell.task,
            "tokens": [
                known for s in stages if (known := stored.about(s.run).get("trained", {}).get("tokens")) is not None
            ],
        }
        for stages in zip(*chains, strict=True)
    ]


def numbers(
    all_jobs: list[Job], resamples: int, measures: Sequence[Measure], contrasts: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Returns the table of arms for `study.json`.

    Args:
      measures, contrasts: of the study.

    Raises:
      UserError: a measure names a subset or a number that cells lack, or they were scored on different rows.
    """
    of_task = {m.task: [job for job in all_jobs if job.cell.task == m.task] for m in measures}
    found = {m.label: _means(m, of_task[m.task], resamples) for m in measures}
    limits = {m.label: _limits(m, of_task[m.task]) for m in measures}
    measured = [job for job in all_jobs if job.cell.task in of_task]
    arms = []
    for arm in dict.fromkeys(job.cell.training for job in measured):
        of_arm = [job for job in measured if job.cell.training == arm]
        values = {
            label: interval(means[arm], limits[label]) | {"by_seed": list(by_seed[arm].values())}
            for label, (means, by_seed) in found.items()
            if arm in means
        }
        planned = sorted({job.cell.seed for job in of_arm})
        arms.append({"name": arm, "planned": len(planned), "values": values, "stages": _stages(of_arm)})
    differences = [
        {
            "a": a,
            "b": b,
            "values": {
                label: interval(means[a] - means[b]) for label, (means, _) in found.items() if a in means and b in means
            },
        }
        for a, b in contrasts
    ]
    columns = [{"label": m.label, "chance": m.chance} for m in measures]
    return {"measures": columns, "arms": arms, "contrasts": differences}
