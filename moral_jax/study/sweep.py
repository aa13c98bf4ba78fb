"""Searches config fields: points on a grid or at random, ranked by validation rows. No test row is scored."""

import itertools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import metrics, replies, summary, texts
from moral_jax.analysis.bootstrap import Statistic, interval
from moral_jax.analysis.table import from_records
from moral_jax.config import Config, parsing, saved
from moral_jax.config.checks import field_type
from moral_jax.report import words
from moral_jax.runs.quantities import HIGHER, QUANTITIES, REPLIES, TEXTS
from moral_jax.runs.records import Record
from moral_jax.study import jobs, stored
from moral_jax.study.jobs import Job
from moral_jax.study.spec import Cell, Study
from moral_jax.types import UserError

RESAMPLES = 10_000
MOST_POINTS = 10_000
TRIES = 100  # draws per requested point, before the search for a new point is given up
REWARD = "reward"  # what ranks runs of reinforcement learning
# what a table shows of texts, and of replies
OF_TEXTS = ("nll_per_token", "likelihood_accuracy", "reward_accuracy", "reward_margin")
OF_REPLIES = (REWARD, "tokens", "finished")
JUDGED_ALIKE = (
    "rollout.reward",
    "rollout.sample.",
)  # say what a reply is worth, and how validation replies are written
DIGITS = 3  # of a random rate; more would only make names longer
Point = dict[str, str]  # field -> value, as on the command line


class Axis(NamedTuple):
    """A field with the values to try, or with the two ends of a range."""

    field: str
    values: list[str]


def parse_axis(flag: str, text: str) -> Axis:
    """Reads "optim.lr=1e-5,3e-5".

    Raises:
      UserError: an unknown field, a value that the field cannot have, or an invalid range.
    """
    field, equals, values = text.partition("=")
    field = field.removeprefix(parsing.FIELD_FLAG)
    if not equals:
        raise UserError(f"{flag} {text}: expected FIELD=VALUE,VALUE, such as optim.lr=1e-5,3e-5")
    if field not in saved.FIELDS:
        raise parsing.unknown_field(field)
    axis = Axis(field, values.split(","))
    parsed = [parsing.parse(field, v) for v in axis.values]
    if flag == "--range":
        kind = field_type(saved.FIELDS[field]).kind
        if kind not in (int, float) or len(parsed) != 2 or None in parsed or not 0 < parsed[0] < parsed[1]:
            raise UserError(f"{flag} {text}: expected a number's FIELD=LOW,HIGH with 0 < LOW < HIGH")
    return axis


def grid(axes: list[Axis]) -> list[Point]:
    """Returns every combination of values; the last field changes fastest."""
    names = [a.field for a in axes]
    if (count := math.prod(len(a.values) for a in axes)) > MOST_POINTS:
        raise UserError(f"--grid: has {count} points, more than {MOST_POINTS}; leave some out, or pass --random=N")
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(a.values for a in axes))]


def draw(axes: list[Axis], ranges: list[Axis], count: int, seed: int) -> list[Point]:
    """Returns distinct random points, log-uniform in ranges. A larger `count` only adds points at the end."""
    if not 1 <= count <= MOST_POINTS:
        raise UserError(f"--random={count}: expected 1 to {MOST_POINTS} points")
    rng, points = random.Random(seed), []
    for _ in range(TRIES * count):
        point = {a.field: rng.choice(a.values) for a in axes} | {r.field: _between(r, rng) for r in ranges}
        if point not in points:
            points.append(point)
        if len(points) == count:
            return points
    raise UserError(f"--random={count}: there are only about {len(points)} different points; ask for fewer")


def _between(axis: Axis, rng: random.Random) -> str:
    low, high = (parsing.parse(axis.field, v) for v in axis.values)
    drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
    kind = field_type(saved.FIELDS[axis.field]).kind
    return str(round(drawn)) if kind is int else f"{drawn:.{DIGITS}g}"


def study(title: str, config: str, points: list[Point]) -> Study:
    """Returns a study with a cell for every point."""
    cells = []
    for point in points:
        overrides = [f"{parsing.FIELD_FLAG}{field}={value}" for field, value in point.items()]
        row = " ".join(f"{field}={value}" for field, value in point.items())
        quiet = ("--config.eval.initial=false", "--config.eval.test=false")
        cells.append(Cell(row, "sweep", "", config, (*overrides, *quiet)))
    return Study(title, tuple(cells))


def judge(points: list[Job], requested: str | None, judged_by: Callable[[Config], str]) -> str:
    """Returns the metric that ranks: the requested one, or that of the objective, if all points share it.

    Args:
      judged_by: the metric of a config's own objective.
    """
    own = {judged_by(job.config) for job in points}
    if requested is None and len(own) > 1:
        which = " or --by=".join(sorted(own))
        raise UserError(f"the points train different objectives; say what ranks them: --by={which}")
    if requested is not None and any(_kind(name) != _kind(requested) for name in own):
        raise UserError(f"--by={requested}: these points are ranked by {' or '.join(sorted(own))}")
    return requested or own.pop()


def _kind(metric: str) -> str:
    """Returns what a metric is of."""
    return "replies" if metric == REWARD else "texts" if metric in TEXTS else "votes"


def check(points: list[Job], axes: list[Axis], flags: list[str]) -> None:
    """Checks that the points can be compared, before anything runs.

    Raises:
      UserError: a field cannot be searched, a flag sets a searched field, or there are no validation rows.
    """
    for axis in axes:
        if axis.field.startswith("task.") and axis.field != "task.train_share":
            raise UserError(f"{axis.field}: cannot be searched, as all points must be judged by the same rows")
        if axis.field.startswith(JUDGED_ALIKE):
            raise UserError(f"{axis.field}: cannot be searched, as replies of all points must be judged alike")
    searched = [f"{parsing.FIELD_FLAG}{a.field}=" for a in axes]
    for flag in flags:
        if flag.startswith(tuple(searched)):
            raise UserError(f"{flag}: this field is searched; leave it out")
    for job in points:
        task = job.config.task
        if task.path is not None and not task.validation and task.validation_path is None:
            raise UserError("config.task.validation=0: points are ranked by validation rows; expected a share above 0")


class _Done(NamedTuple):
    """A finished point."""

    job: Job
    records: list[Record]
    known: dict[str, np.ndarray | Statistic]  # by metric: a value for each row, or a statistic of row weights

    def value(self, metric: str) -> float:
        known = self.known[metric]
        return float(known(np.ones((1, len(self.records))))[0] if callable(known) else known.mean())


def _of_point(job: Job, by: str) -> _Done:
    """Reads a finished point, and what it shows."""
    records = stored.read(job.run, job.stage_name).records
    if by == REWARD:
        known = replies.statistics(records)
        if by not in known:
            raise UserError(f"--by={by}: {job.run} has no reward of any reply; correct config.rollout.reward")
        return _Done(job, records, {name: known[name] for name in OF_REPLIES if name in known})
    if by not in TEXTS:
        table = from_records(records)
        return _Done(job, records, {name: metrics.ROW_METRICS[name](table) for name in summary.VALIDATED})
    known = texts.statistics(texts.Texts(records), job.config.objective.beta)
    if by not in known:
        raise UserError(f"--by={by}: {job.run} has no such number; it has {', '.join(known)}")
    return _Done(job, records, {name: known[name] for name in OF_TEXTS if name in known})


def rank(points: list[Job], by: str) -> list[dict[str, Any]]:
    """Returns the finished points, the best first, each with how far the best is ahead of it."""
    done = [_of_point(job, by) for job in points if jobs.is_done(job)]
    if not done:
        return []
    sign = -1 if (QUANTITIES | TEXTS | REPLIES)[by].better == HIGHER else 1
    done.sort(key=lambda point: sign * point.value(by))
    resampling, rows = summary.resampling_of(done[0].records, RESAMPLES, 0), []
    [best] = resampling.draws({by: done[0].known[by]}).values()
    for place, point in enumerate(done, 1):
        [own] = resampling.draws({by: point.known[by]}).values()
        behind = own - best if sign > 0 else best - own
        rows.append(
            {"rank": place, "name": point.job.cell.name, "point": point_of(point.job), "behind": interval(behind)}
            | {name: point.value(name) for name in point.known}
            | {"seconds": jobs.read_notes(point.job).get("seconds")}
        )
    return rows


def write(folder: Path, ranked: list[dict[str, Any]], by: str, planned: int) -> str:
    """Writes `sweep.json` and `sweep.md`; returns the table."""
    fields = list(dict.fromkeys(field for row in ranked for field in row["point"]))
    shown = [name for name in (*summary.VALIDATED, *OF_TEXTS, *OF_REPLIES) if any(name in row for row in ranked)]
    header = ["", *fields, *shown, f"{by} behind the best", "minutes"]
    rows = [
        [str(row["rank"]), *(row["point"][f] for f in fields), *(f"{row[m]:.4f}" if m in row else "" for m in shown)]
        + ["" if row["rank"] == 1 else words.interval(row["behind"])]
        + ["" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}"]
        for row in ranked
    ]
    missing = f"\n\n{planned - len(ranked)} of {planned} points are missing." if len(ranked) < planned else ""
    text = words.markdown(words.Table(header, rows)) + missing
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {"by": by, "planned": planned, "points": ranked}
    (folder / "sweep.json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    (folder / "sweep.md").write_text(f"# Ranked by {by} on the validation rows\n\n{text}\n", encoding="utf-8")
    return text


def point_of(job: Job) -> Point:
    """Returns the fields that a point sets."""
    flags = [f.removeprefix(parsing.FIELD_FLAG) for f in job.cell.overrides]
    return dict(f.split("=", 1) for f in flags if not f.startswith("eval."))
