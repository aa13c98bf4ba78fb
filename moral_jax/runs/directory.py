"""A run directory, whoever answered the questions: config, provenance, records by stage, numbers, the page. No jax."""

import contextlib
import json
import platform
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import moral_jax
from moral_jax.analysis import summary
from moral_jax.analysis.calibrate import Calibration, fit
from moral_jax.analysis.table import Table, from_examples, from_records
from moral_jax.config import Config, saved
from moral_jax.report import page
from moral_jax.runs.records import Record, read_jsonl, write_jsonl
from moral_jax.runtime import files
from moral_jax.runtime.console import say
from moral_jax.runtime.files import write_json
from moral_jax.tasks.registry import Dataset
from moral_jax.types import Example, UserError

STAGES = ("before", "after")
CONFIG, LOCK = "config.json", "lock"
BEGUN = {LOCK, CONFIG + files.PARTIAL}  # what there may be of a run that was killed before it had a config


@contextlib.contextmanager
def claim(config: Config, workdir: Path) -> Iterator[None]:
    """Makes the run directory, or accepts one that holds the same config, and keeps it for this process alone.

    Raises:
      UserError: the directory holds a run of another config (shows the difference), or something else, or another
        process works in it.
    """
    _check(config, workdir)  # before anything is written there
    with files.refusals(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            if held.enter_context(files.lock(workdir / LOCK)) is None:
                raise UserError(
                    f"{workdir}: {files.owner(workdir / LOCK)} works here already; wait until it has ended, or pass "
                    f"--workdir=ANOTHER"
                )
        except OSError as e:
            if e.errno in files.REMEDIES:
                raise files.storage_error(e, workdir / LOCK) from e
            say(f"{workdir}: this disk keeps no locks ({e}): see to it that no other process uses this directory")
        if _check(config, workdir):  # by now: another may have begun here since
            say(f"resuming {workdir}")
        else:
            saved.save(config, workdir / CONFIG)
        yield


def _check(config: Config, workdir: Path) -> bool:
    """Whether a directory holds this run already; raises if it holds anything else."""
    if (workdir / CONFIG).exists():
        if changed := saved.difference(saved.read(workdir / CONFIG), config):
            lines = "\n  ".join(changed)
            raise UserError(f"{workdir} holds a run of another config. Pass --workdir=ANOTHER, or undo:\n  {lines}")
        return True
    if workdir.exists() and (not workdir.is_dir() or {p.name for p in workdir.iterdir()} - BEGUN):
        raise UserError(f"{workdir} is not empty and holds no run (no {CONFIG}); pass --workdir=ANOTHER")
    return False


def record(workdir: Path, provenance: dict[str, Any]) -> None:
    """Writes `provenance.json`; a run that goes on must have the data and the weights that it began with.

    Raises:
      UserError: a file is another by now: names it, and both hashes.
    """
    path = workdir / "provenance.json"
    if path.exists():
        try:
            began = _hashes(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as e:
            raise UserError(f"{path}: is not what a run writes ({e}); remove it to go on without its hashes") from e
        now = _hashes(provenance)
        for name, was in began.items():
            if now.get(name) != was:
                raise UserError(
                    f"{name}: is no longer the file that {workdir} began with: its SHA-256 was {was}, and is "
                    f"{now.get(name)} now. Put the old file back, or pass --workdir=ANOTHER to begin anew"
                )
    write_json(path, provenance)


def _hashes(provenance: dict[str, Any]) -> dict[str, str]:
    """SHA-256 of files by name, of data and of the model's."""
    return provenance["data"]["sha256"] | provenance["model"]["sha256"]


def read_config(folder: Path) -> Config:
    """The config of a run directory."""
    if not (folder / CONFIG).exists():
        raise UserError(f"{folder}: holds no run (no {CONFIG})")
    return saved.read(folder / CONFIG)


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
