"""Records -> numbers -> page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moral_jax.analysis import multiple_choice, replies, summary, texts
from moral_jax.analysis.calibrate import Calibration, fit
from moral_jax.analysis.table import Table, from_examples, from_records
from moral_jax.config import Config
from moral_jax.report import checks, page
from moral_jax.report.source import kind_of
from moral_jax.runs import directory
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.records import Record, read_jsonl
from moral_jax.runs.reply_records import read_reply_jsonl
from moral_jax.runs.text_records import read_text_jsonl
from moral_jax.runtime import strict_json
from moral_jax.runtime.files import write_json, write_jsonl
from moral_jax.tasks import registry
from moral_jax.types import Example


def calibration_of(rows: list[Record] | None) -> Calibration | None:
    """Returns the calibration that fits some validation records; None without any."""
    return fit(from_records(rows)) if rows else None


def write_metrics(
    folder: Path,
    rows: dict[str, list[Record]],
    calibration: Calibration | None,
    train: Table | None,
    config: Config,
) -> str:
    """Summarises the reported split (test, or whatever there is) into `metrics.json`, and adds to its records the
    numbers of each row that the page shows.

    Args:
      rows: records by split; validation records, if there are any, fit the calibration unless one is given.

    Returns:
      The name of the reported split.
    """
    calibration = calibration or calibration_of(rows.get("validation"))
    reported = next(s for s in ("test", "validation", *rows) if s in rows)
    if reported == "validation":
        calibration = None  # fitted on the very rows that it would be judged on
    c = config.eval
    numbers = summary.summarise(rows[reported], calibration, train, c.bootstrap, c.best_draws, c.seed)
    if registry.get(config.task.name).marks_truth:
        numbers["multiple_choice"] = multiple_choice.summarise(rows[reported], c.bootstrap, c.seed)
    write_jsonl(folder / f"{reported}.jsonl", summary.with_row_numbers(rows[reported]))
    write_json(folder / "metrics.json", {"split": reported, **numbers})
    return reported


def summarise(
    run: RunDirectory,
    splits: Sequence[str],
    train: Sequence[Example],
    config: Config,
    calibration: Calibration | None = None,
) -> page.Written | None:
    """Writes the numbers of each stage, their difference, and the page.

    Args:
      splits: those whose records each stage holds.
      train: the rows whose votes are the prior among the yardsticks.
      calibration: fitted on rows of another run; default: on this run's validation records.

    Returns:
      The page; None where nothing was scored.
    """
    prior = from_examples(train) if train else None
    reported = []
    for folder in directory.stages(run.path).values():
        if folder.exists() and (rows := {s: read_jsonl(folder / f"{s}.jsonl") for s in splits}):
            reported.append(rows[write_metrics(folder, rows, calibration, prior, config)])
    if len(reported) == 2:
        before, after = reported
        difference = summary.compare(before, after, config.eval.bootstrap, config.eval.seed)
        write_json(run.path / "comparison.json", difference)
    return page.write(run.path) if reported else None


def summarise_texts(
    run: RunDirectory, splits: Sequence[str], config: Config, beta: float | None
) -> page.Written | None:
    """Writes the numbers of each stage of a run on texts, their difference, and the page.

    Args:
      splits: those whose records each stage holds.
      beta: of the rewards of a run on preferences; None where there are none.
    """
    count, seed = config.eval.bootstrap, config.eval.seed
    return _summarise(
        run,
        splits,
        read_text_jsonl,
        lambda records, first: texts.summarise(records, first, beta, count, seed),
        lambda before, after: texts.compare(before, after, count, seed),
    )


def summarise_replies(run: RunDirectory, splits: Sequence[str], config: Config) -> page.Written | None:
    """Writes the numbers of each stage of a run on replies, their difference, and the page."""
    count, seed = config.eval.bootstrap, config.eval.seed
    return _summarise(
        run,
        splits,
        read_reply_jsonl,
        lambda records, _: replies.summarise(records, count, seed),
        lambda before, after: replies.compare(before, after, count, seed),
    )


def _summarise(
    run: RunDirectory,
    splits: Sequence[str],
    read: Callable[[Path], list[Record]],
    numbers_of: Callable[[list[Record], list[Record] | None], dict[str, Any]],
    compare: Callable[[list[Record], list[Record]], dict[str, Any]],
) -> page.Written | None:
    """Writes the numbers of each stage and their difference, and the page.

    Args:
      numbers_of: (records of a stage, those of the first one if this is another) -> numbers.
    """
    reported: list[list[Record]] = []
    split = next((s for s in ("test", "validation", *splits) if s in splits), None)
    for folder in directory.stages(run.path).values():
        if split is None or not folder.exists():
            continue
        records = read(folder / f"{split}.jsonl")
        numbers = numbers_of(records, reported[0] if reported else None)
        write_json(folder / "metrics.json", {"split": split, **numbers})
        reported.append(records)
    if len(reported) == 2:
        write_json(run.path / "comparison.json", compare(*reported))
    return page.write(run.path) if reported else None


def write_page(folder: Path, fairness: Any = None) -> page.Written:
    """Writes a run's page again from its files; records of version 0.1 get the numbers of each row first.

    Args:
      fairness: a comparison of groups, of a run on votes; None claims nothing.
    """
    if kind_of(folder) != "votes":
        return page.write(folder)
    for stage in directory.stages(folder).values():
        numbers = strict_json.read(stage / "metrics.json") if (stage / "metrics.json").exists() else {}
        file = stage / f"{numbers.get('split')}.jsonl"
        rows = read_jsonl(file) if numbers.get("split") in checks.SPLITS else []
        if not all("kl" in row for row in rows):
            write_jsonl(file, summary.with_row_numbers(rows))
    return page.write(folder, fairness)
