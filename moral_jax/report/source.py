"""Reads the files of a run or an evaluation that a page is made from."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moral_jax.report import checks
from moral_jax.runs import directory
from moral_jax.runs.records import read_jsonl
from moral_jax.runtime import secrets, strict_json
from moral_jax.types import UserError


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of a run: its numbers, and its records of the reported split."""

    name: str
    numbers: dict[str, Any]
    records: list[dict[str, Any]]

    def value(self, metric: str) -> dict[str, float] | None:
        return self.numbers["metrics"].get(metric)

    @property
    def cross_entropy(self) -> dict[str, float]:
        """Returns the one metric that every stage has; `checks.metrics` refuses a file without it."""
        return self.numbers["metrics"]["cross_entropy"]


@dataclasses.dataclass(frozen=True)
class NamedStage:
    """A stage of a run on texts or replies: its numbers, and its records of the reported split by id."""

    name: str
    numbers: dict[str, Any]
    records: dict[str, dict[str, Any]]

    def value(self, metric: str) -> dict[str, float] | None:
        return self.numbers["metrics"].get(metric)


@dataclasses.dataclass(frozen=True)
class Source:
    """The data of a page. `comparison` holds paired differences, last stage minus first."""

    name: str
    stages: list[Any]  # `Stage` or `NamedStage`
    comparison: dict[str, dict[str, float]]
    trace: list[dict[str, Any]]  # rows of metrics.jsonl
    config: dict[str, Any]
    provenance: dict[str, Any]
    samples: list[Any] = dataclasses.field(default_factory=list)  # replies of some rollouts

    @property
    def last(self) -> Any:
        return self.stages[-1]

    @property
    def is_synthetic(self) -> bool:
        return self.provenance.get("data", {}).get("task") == "synthetic"


def _json(path: Path) -> dict[str, Any]:
    return strict_json.read(path) if path.exists() else {}


def kind_of(folder: Path) -> str:
    """Returns what the records of a run's stages are about: votes, or the KIND of other records."""
    for stage in directory.stages(folder).values():
        if (stage / "metrics.json").exists():
            return str(strict_json.read(stage / "metrics.json").get("kind", "votes"))
    return "votes"


def _stage(name: str, folder: Path) -> Stage | None:
    file = folder / "metrics.json"
    numbers = _json(file)
    if not numbers:
        return None
    checks.metrics(file, numbers)
    records = folder / f"{numbers['split']}.jsonl"
    rows = read_jsonl(records)
    for line, row in enumerate(rows, 1):
        checks.record(f"{records}:{line}", row)
    return Stage(name, numbers, rows)


def _trace(file: Path) -> list[dict[str, Any]]:
    """Reads the log of training; nothing if there is none."""
    rows = []
    for place, row in strict_json.read_lines(file) if file.exists() else ():
        checks.log_line(place, row)
        rows.append(row)
    return rows


def of_stages(folder: Path, stages: Sequence[Any], check_comparison: Callable[[Path, dict[str, Any]], None]) -> Source:
    """Reads what stands beside the stages of a run.

    Args:
      stages: those that were scored.
      check_comparison: raises UserError if `comparison.json` is not what such a run writes.

    Raises:
      UserError: no stage was scored yet, or a file is not what a run writes.
    """
    if not stages:
        raise UserError(f"{folder}: holds no numbers yet (no metrics.json of a stage); train or evaluate first")
    comparison, provenance = _json(folder / "comparison.json"), _json(folder / "provenance.json")
    check_comparison(folder / "comparison.json", comparison)
    checks.provenance(folder / "provenance.json", provenance)
    return Source(
        name=secrets.redacted(folder.resolve().name),
        stages=list(stages),
        comparison=comparison,
        trace=_trace(folder / "metrics.jsonl"),
        config=_json(folder / "config.json"),
        provenance=provenance,
    )


def read_named(
    folder: Path,
    check: Callable[[Path, dict[str, Any]], None],
    read_records: Callable[[Path], list[dict[str, Any]]],
) -> Source:
    """Reads the files of a run on texts or replies; raises as `of_stages`.

    Args:
      check: raises UserError if a `metrics.json` is not what such a run writes.
    """
    stages = []
    for name, stage in directory.stages(folder).items():
        if numbers := _json(file := stage / "metrics.json"):
            check(file, numbers)
            records = {r["id"]: r for r in read_records(stage / f"{numbers['split']}.jsonl")}
            stages.append(NamedStage(name, numbers, records))
    return of_stages(folder, stages, checks.estimates)


def read(folder: Path) -> Source:
    """Reads the files of a run directory; raises as `of_stages`."""
    candidates = [_stage(name, stage) for name, stage in directory.stages(folder).items()]
    return of_stages(folder, [stage for stage in candidates if stage is not None], checks.comparison)
