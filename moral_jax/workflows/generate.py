"""Writes replies to prompts: a file of rows in, JSON lines out.

OUT/replies.jsonl    every reply, appended as it comes: `runs.written`
OUT/generate.json    how they are written
OUT/provenance.json  what they come from: `runs.origin`

A killed command goes on with the rows that have no replies yet. Their tokens are those of a command that was not
killed: they depend on the seed, the prompt, the sample and the place alone.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from moral_jax.config import Config
from moral_jax.config.sample import SampleConfig
from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.inference.generate import make_sampler
from moral_jax.respondents.sampling import Asked, Sample, asked_of, written
from moral_jax.runs import origin
from moral_jax.runs import written as on_disk
from moral_jax.runs.directory import LOCK, RunDirectory
from moral_jax.runs.origin import NOT_BEGUN
from moral_jax.runtime import distributed, files, places, strict_json
from moral_jax.runtime.console import info
from moral_jax.tasks import load as task_rows
from moral_jax.types import Example, UserError
from moral_jax.workflows.asking import locked
from moral_jax.workflows.evaluate import local_respondent, on_texts

ABOUT = "generate.json"
BEGUN = {LOCK, ABOUT + files.PARTIAL}  # what there may be of a command that was killed before it had settings


class Prompts(NamedTuple):
    """What is replied to."""

    rows: Sequence[Example]
    about: dict[str, Any]  # where the rows come from, as `tasks.load.provenance` says it


def prompts_of(path: str, fields: FieldsConfig) -> Prompts:
    """Returns the prompts of a file, in the columns that `fields` names.

    Raises:
      UserError: the file cannot be read, or a row is no prompt.
    """
    task = TaskConfig(name="prompts", path=path, fields=fields)
    rows, about = task_rows.of_one_file(path, task)
    return Prompts(rows["rows"], about)


def check_out(out: Path) -> None:
    """Raises UserError for a folder that holds anything but replies of this command."""
    is_begun = out.is_dir() and {path.name for path in out.iterdir()} <= BEGUN
    if not is_begun and not (out / ABOUT).exists():
        places.check_new("--out", out)


def replies(
    config: Config, examples: Sequence[Example], how: SampleConfig, stops: Sequence[str], run: RunDirectory | None
) -> Iterator[tuple[int, list[Sample]]]:
    """Yields (place of a row, its replies) as they come to an end.

    Args:
      config: names the model and how prompts are written; its task is not read.
      run: write with the weights that this run stands for.

    Raises:
      UserError: the model writes no texts, or has no room for a prompt.
    """
    respondent, _ = local_respondent(on_texts(config, TaskConfig(name="prompts")), run, NOT_BEGUN)
    yield from respondent.sample(examples, how, stops)


def write(
    config: Config, prompts: Prompts, how: SampleConfig, stops: Sequence[str], run: RunDirectory | None, out: Path
) -> Path:
    """Writes the replies that a folder lacks; returns the file of all.

    Args:
      config, how, stops, run: as of `replies`.
      out: a new folder, or one that the same command has begun.

    Raises:
      UserError: as `replies`, or `out` holds replies of another model, to other prompts, or written otherwise.
    """
    respondent, origin_of = local_respondent(on_texts(config, TaskConfig(name="prompts")), run, NOT_BEGUN)
    encoder, rows = respondent.scoring.encoder, prompts.rows
    asked = asked_of(encoder, rows, how.max_tokens)  # before anything is written
    compute = encoder.files.model.compute
    settings = {
        "sampling": dataclasses.asdict(how),
        "stop": list(stops),
        "prompt": dataclasses.asdict(config.prompt),
        "arithmetic": {"dtype": compute.dtype, "product_dtype": compute.product_dtype, "attention": compute.attention},
    }
    with contextlib.ExitStack() as held:

        def begin() -> list[int]:
            held.enter_context(locked(out))
            _begin(out, settings, origin_of(prompts.about) | {"prompts_sha256": {"prompts": _sha256(asked)}})
            return list(on_disk.begun(out, how.n))

        known = set(distributed.from_primary(begin))
        left = [place for place in range(len(rows)) if place not in known]
        if known:
            info(f"{out}: {len(known)} of {len(rows)} prompts have their replies")
        # the size of the whole: programs of other sizes round differently
        sampler = make_sampler(encoder.files.model, how, len(rows))
        examples, waiting = [rows[place] for place in left], [asked[place] for place in left]
        found = written(encoder, respondent.params, examples, waiting, how, stops, sampler) if left else iter(())
        for place, samples in found:
            if distributed.is_primary():
                on_disk.append(out, on_disk.lines_of(left[place], samples))
        if distributed.is_primary():
            on_disk.finish(out, how.n)
    return out / on_disk.REPLIES


def _sha256(asked: Sequence[Asked]) -> str:
    """Returns a hash of all prompts, as token ids."""
    return hashlib.sha256(json.dumps([list(a.prompt.tokens) for a in asked]).encode()).hexdigest()


def _begin(out: Path, settings: dict[str, Any], about: dict[str, Any]) -> None:
    """Writes how replies are written and what they come from, or checks that both are as they were.

    Raises:
      UserError: names the first setting or file that differs.
    """
    check_out(out)
    settings = json.loads(json.dumps(settings))
    if (out / ABOUT).exists() and (other := _differs(strict_json.read(out / ABOUT), settings)):
        name, was, now = other
        raise UserError(f"{out}: replies were written with {name}={was}, not {now}; pass --out=ANOTHER")
    origin.check(out, about, remedy="pass --out=ANOTHER")
    files.write_json(out / ABOUT, settings)
    origin.record(out, about)


def _differs(was: dict[str, Any], now: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """Returns the first setting that differs, in both."""
    for name in {**was, **now}:
        before, after = was.get(name), now.get(name)
        if before != after:
            inner = _differs(before, after) if isinstance(before, dict) and isinstance(after, dict) else None
            return (f"{name}.{inner[0]}", *inner[1:]) if inner else (name, before, after)
    return None
