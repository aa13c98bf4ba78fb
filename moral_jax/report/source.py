"""What a page is made from: the files of a run, or of one evaluation."""

import dataclasses
from pathlib import Path
from typing import Any

from moral_jax.report import checks
from moral_jax.runtime import strict_json
from moral_jax.types import UserError

STAGES = ("before", "after")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One scored model: its numbers and its records of the reported split."""

    name: str
    numbers: dict[str, Any]
    records: list[dict[str, Any]]

    def value(self, metric: str) -> dict[str, float] | None:
        return self.numbers["metrics"].get(metric)


@dataclasses.dataclass(frozen=True)
class Source:
    """Everything on the page. `comparison` holds paired differences, after minus before."""

    name: str
    stages: list[Stage]
    comparison: dict[str, dict[str, float]]
    trace: list[dict[str, Any]]  # rows of metrics.jsonl
    config: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def last(self) -> Stage:
        return self.stages[-1]

    @property
    def is_synthetic(self) -> bool:
        return self.provenance.get("data", {}).get("task") == "synthetic"


def _json(path: Path) -> dict[str, Any]:
    return strict_json.read(path) if path.exists() else {}


def _stage(folder: Path, name: str) -> Stage | None:
    file = folder / "metrics.json"
    numbers = _json(file)
    if not numbers:
        return None
    checks.numbers(file, numbers)
    records = folder / f"{numbers['split']}.jsonl"
    rows = strict_json.read_records(records)
    for number, row in enumerate(rows, 1):
        checks.record(f"{records}:{number}", row)
    return Stage(name, numbers, rows)


def _trace(file: Path) -> list[dict[str, Any]]:
    rows = []
    for where, row in strict_json.read_lines(file) if file.exists() else ():
        checks.step(where, row)
        rows.append(row)
    return rows


def read(folder: Path) -> Source:
    """Reads a run directory (`before/`, `after/`) or an evaluation's (`metrics.json` at the top).

    Raises:
      UserError: nothing was scored there yet.
    """
    found = [_stage(folder / name, name) for name in STAGES] + [_stage(folder, "model")]
    stages = [stage for stage in found if stage is not None]
    if [stage.name for stage in stages] == ["after"]:  # nothing was trained: a baseline, or a model behind an API
        stages = [dataclasses.replace(stages[0], name="model")]
    if not stages:
        raise UserError(f"{folder}: holds no numbers yet (no before/metrics.json); train or evaluate first")
    comparison, provenance = _json(folder / "comparison.json"), _json(folder / "provenance.json")
    checks.difference(folder / "comparison.json", comparison)
    checks.origin(folder / "provenance.json", provenance)
    return Source(
        name=folder.resolve().name,
        stages=stages,
        comparison=comparison,
        trace=_trace(folder / "metrics.jsonl"),
        config=_json(folder / "config.json"),
        provenance=provenance,
    )
