"""Scores rows and writes what came out: `SPLIT.jsonl` (records) and `metrics.json`."""

import json
from pathlib import Path
from typing import Any

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.data import layout, pipeline
from moral_jax.evals import records, summary
from moral_jax.evals.calibrate import Calibration, fit
from moral_jax.evals.score import Scorer, score_items
from moral_jax.evals.table import Table, from_records
from moral_jax.types import Params


def score_questions(
    scorer: Scorer, params: Params, questions: layout.Questions, shape: layout.Shape, prefetch: int, what: str
) -> list[records.Record]:
    """One record per example."""
    held = sharding.held_rows(shape.rows, shape.rows, scorer.mesh)
    scores = score_items(scorer, params, pipeline.scoring_batches(questions, shape, held), prefetch, what)
    return records.make_records(list(questions.examples), questions.items, scores)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def write_metrics(
    folder: Path,
    rows: dict[str, list[records.Record]],
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
