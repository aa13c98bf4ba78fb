"""`moral-jax generate`: prompts in, replies out."""

import argparse
import contextlib
import json
import re
import sys
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.config.parsing import docstrings
from moral_jax.config.sample import SampleConfig
from moral_jax.config.task import FieldsConfig
from moral_jax.runtime import places, terminal
from moral_jax.runtime.console import info
from moral_jax.runtime.strict_json import visible
from moral_jax.types import Example, UserError

DESCRIPTION = """\
Writes replies to prompts.

  echo "May I keep the wallet that I found?" | moral-jax generate --model=OWNER/MODEL
  moral-jax generate --run=runs/sft prompts.jsonl --n=4 --temperature=0.8 --top-p=0.95 --out=replies

Rows of a file have messages that wait for a reply, a prompt, or a text; standard input is one prompt. The same prompt,
seed and settings give the same replies in any order and company of rows.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of writing."""
    shared.add_model(parser)
    parser.add_argument("file", nargs="?", default="-", help="a table of prompts; default: standard input, one prompt")
    how = parser.add_argument_group("how replies are written")
    for name, said in docstrings(SampleConfig).items():
        default = getattr(SampleConfig, name)
        kind = float if isinstance(default, float) else int
        shown = "" if default is None else f" (default: {default})"
        how.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, metavar="N", help=said + shown)
    how.add_argument("--stop", action="append", default=[], metavar="TEXT", help="ends a reply; may be given again")
    parser.add_argument("--out", type=Path, metavar="DIR", help="writes DIR/replies.jsonl, with tokens and their logs")
    parser.add_argument("--json", action="store_true", help="prints one JSON object a reply instead of its text")


def _prompt() -> list[Example]:
    """Returns standard input as one prompt."""
    text = sys.stdin.buffer.read().decode("utf-8", errors="replace").strip()
    if not text:
        raise UserError("standard input: holds no prompt; pass a file, or pipe a text")
    return [Example("standard input", "", ("",), (1.0,), text=text)]


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Writes."""
    answers = sys.stdout
    config, run = shared.who_answers(args, rest)
    if config.respondent.kind != "local":
        raise UserError(f"config.respondent.kind={config.respondent.kind!r}: only a local model writes replies")
    if "" in args.stop:
        raise UserError("--stop='': an empty text ends every reply at once")
    if args.out:
        places.check_new("--out", args.out)
    try:
        how = SampleConfig(**{name: getattr(args, name) for name in docstrings(SampleConfig)})
    except UserError as e:
        raise UserError(
            re.sub(r"config\.rollout\.sample\.(\w+)", lambda m: f"--{m[1].replace('_', '-')}", str(e))
        ) from None
    from moral_jax.runs.directory import RunDirectory
    from moral_jax.runtime import distributed
    from moral_jax.workflows import generate

    with contextlib.redirect_stdout(sys.stderr):  # replies alone stand in the output
        fields = FieldsConfig() if run else config.task.fields  # a run's columns are those of another file
        rows = _prompt() if args.file == "-" else generate.rows_of(args.file, fields)
        found = dict(generate.replies(config, rows, how, args.stop, RunDirectory(run) if run else None))
        ordered = [sample for place in range(len(rows)) for sample in found[place]]
        if args.out and distributed.is_primary():
            info(f"replies: {generate.write(args.out, ordered)}")
    if args.out or not distributed.is_primary():
        return
    for sample in ordered:
        text = json.dumps(sample._asdict(), ensure_ascii=not terminal.knows_all(answers)) if args.json else sample.text
        print(visible(text), file=answers)
