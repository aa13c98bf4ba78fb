"""What a cell has left, read and checked: files may be cut, damaged, or copied from elsewhere in part."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.report import checks
from moral_jax.runs import directory, origin
from moral_jax.runs.records import Record, read_jsonl
from moral_jax.runs.reply_records import KIND as REPLIES
from moral_jax.runs.reply_records import read_reply_jsonl
from moral_jax.runs.text_records import KIND as TEXTS
from moral_jax.runs.text_records import read_text_jsonl
from moral_jax.runtime import strict_json
from moral_jax.types import UserError

METRICS = "metrics.json"
KINDS = {  # of numbers: how they are checked, and how the records behind them are read
    "votes": (checks.metrics, read_jsonl),
    TEXTS: (checks.text_metrics, read_text_jsonl),
    REPLIES: (checks.reply_metrics, read_reply_jsonl),
}
Stamp = tuple[tuple[str, int, int], ...]  # name, time and size of each file


class Stored(NamedTuple):
    """The numbers of a cell, where they come from, and the records that they were made of."""

    numbers: dict[str, Any]
    about: dict[str, Any]
    records: list[Record]


def folder(run: Path, stage: str) -> Path:
    """Returns the folder of a stage of a run, also of one that version 0.1 has left."""
    return directory.stages(run).get(stage, run / stage)


def read(run: Path, stage: str) -> Stored:
    """Reads the files of a stage.

    Raises:
      UserError: a file is missing, or is not what a run writes; names it.
    """
    directory.read_config(run)
    file = folder(run, stage) / METRICS
    numbers = strict_json.read(file)
    kind = numbers.get("kind", "votes")
    if kind not in KINDS:
        raise UserError(
            f"{file}: holds numbers of {strict_json.shown(kind)}; studies compare runs on {', '.join(KINDS)}"
        )
    check, read_records = KINDS[kind]
    check(file, numbers)
    of_run = about(run)
    scored = file.with_name(f"{numbers['split']}.jsonl")
    records = read_records(scored)
    if len(records) != numbers["rows"]:
        raise UserError(f"{scored}: has {len(records)} records, but {METRICS} is of {numbers['rows']}; {checks.AGAIN}")
    return Stored(numbers, of_run, records)


def about(run: Path) -> dict[str, Any]:
    """Returns the provenance of a run; nothing if there is none.

    Raises:
      UserError: it is not what a run writes.
    """
    file = run / origin.PROVENANCE
    if not file.exists():
        return {}
    of_run = strict_json.read(file)
    checks.provenance(file, of_run)
    return of_run


def trouble(run: Path, stage: str) -> str | None:
    """Returns what is wrong with the files of a stage, None where nothing is."""
    return _trouble(run, stage, _stamp(run))


@functools.lru_cache(maxsize=10_000)
def _trouble(run: Path, stage: str, stamp: Stamp) -> str | None:
    """Reads files again only if they have changed: a study asks often, and records are large."""
    try:
        read(run, stage)
    except UserError as e:
        return str(e)
    return None


def _stamp(run: Path) -> Stamp:
    paths = [path for pattern in ("*.json", "*/*.json*") for path in run.glob(pattern)]
    return tuple(sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in paths if p.exists()))
