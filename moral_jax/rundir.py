"""A run directory, whoever answered the questions: config, provenance, records by stage, numbers, the page. No jax."""

import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import moral_jax
from moral_jax import config_io
from moral_jax.config import Config
from moral_jax.evals import summary
from moral_jax.evals.calibrate import Calibration, fit
from moral_jax.evals.records import Record, read_jsonl, write_json, write_jsonl
from moral_jax.evals.table import Table, from_examples, from_records
from moral_jax.logs import say
from moral_jax.report import page
from moral_jax.tasks.registry import Dataset
from moral_jax.types import Example, UserError

STAGES = ("before", "after")


def claim(config: Config, workdir: Path) -> None:
    """Makes the run directory, or accepts one that holds the same config.

    Raises:
      UserError: the directory holds a run of another config (shows the difference), or something else.
    """
    file = workdir / "config.json"
    if file.exists():
        if changed := config_io.difference(config_io.read(file), config):
            lines = "\n  ".join(changed)
            raise UserError(f"{workdir} holds a run of another config. Pass --workdir=ANOTHER, or undo:\n  {lines}")
        say(f"resuming {workdir}")
        return
    if workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
        raise UserError(f"{workdir} is not empty and holds no run (no config.json); pass --workdir=ANOTHER")
    workdir.mkdir(parents=True, exist_ok=True)
    config_io.save(config, file)


def read_config(folder: Path) -> Config:
    """The config of a run directory."""
    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: holds no run (no config.json)")
    return config_io.read(folder / "config.json")


def to_score(data: Dataset) -> dict[str, list[Example]]:
    """The rows that a run without training is about.

    Raises:
      UserError: there are none.
    """
    if not data.scored:
        raise UserError("nothing to score: config.task.validation and config.task.test are 0")
    return data.scored


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Ours, Python's, and those of the libraries that the numbers depend on."""
    ours = {"moral_jax": moral_jax.__version__, "python": platform.python_version()}
    return ours | {name: metadata.version(name) for name in libraries}


def write_metrics(
    folder: Path,
    rows: dict[str, list[Record]],
    calibration: Calibration | None,
    train: Table | None,
    config: Config,
) -> dict[str, Any]:
    """Summarises the reported split (test, or whatever there is) into `metrics.json`.

    Args:
      rows: records by split; validation records, where there are any, fit the calibration unless one is given.
    """
    if calibration is None and rows.get("validation"):
        calibration = fit(from_records(rows["validation"]))
    reported = next(s for s in ("test", "validation", *rows) if s in rows)
    if reported == "validation":
        calibration = None  # fitted on the very rows that it would be judged on
    c = config.eval
    numbers = summary.summarise(rows[reported], calibration, train, c.bootstrap, c.best_draws, c.seed)
    out = {"split": reported, **numbers}
    write_json(folder / "metrics.json", out)
    return out


def report(workdir: Path, splits: Iterable[str], train: list[Example], config: Config) -> page.Written | None:
    """All that is said about the records of a run: numbers of each stage, their difference, the page.

    Args:
      splits: those whose records each stage holds.
      train: whose votes are the prior among the yardsticks.

    Returns:
      The page; None where nothing was scored.
    """
    prior = from_examples(train) if train else None
    reported = []
    for stage in STAGES:
        if (workdir / stage).exists() and (rows := {s: read_jsonl(workdir / stage / f"{s}.jsonl") for s in splits}):
            reported.append(rows[write_metrics(workdir / stage, rows, None, prior, config)["split"]])
    if len(reported) == 2:
        difference = summary.compare(*reported, config.eval.bootstrap, config.eval.seed)
        write_json(workdir / "comparison.json", difference)
    return page.write(workdir) if reported else None


def write_answers(
    workdir: Path,
    config: Config,
    provenance: dict[str, Any],
    rows: dict[str, list[Record]],
    train: list[Example],
) -> page.Written:
    """Fills the directory of a run that trains no model: all it has stands in `after/`, where finished runs have it."""
    write_json(workdir / "provenance.json", provenance)
    (workdir / "after").mkdir(exist_ok=True)
    for split, records in rows.items():
        write_jsonl(workdir / "after" / f"{split}.jsonl", records)
    return report(workdir, rows, train, config)
