"""`moral-jax generate`: prompts in, replies out."""

import argparse
import contextlib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from moral_jax.cli import shared
from moral_jax.config.parsing import docstrings
from moral_jax.config.sample import SampleConfig
from moral_jax.config.task import FieldsConfig
from moral_jax.runtime import preemption, terminal
from moral_jax.runtime.console import info
from moral_jax.runtime.strict_json import visible
from moral_jax.types import Example, UserError

if TYPE_CHECKING:
    from moral_jax.workflows.generate import Prompts

DESCRIPTION = """\
Writes replies to prompts.

  echo "May I keep the wallet that I found?" | moral-jax generate --model=OWNER/MODEL
  moral-jax generate --run=runs/sft prompts.jsonl --n=4 --temperature=0.8 --top-p=0.95 --out=replies

Rows of a file have messages that wait for a reply, a prompt, or a text; standard input is one prompt. The same prompt,
seed and settings give the same replies in any order and company of rows. With --out, the same command goes on where it
was killed.
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


def _prompt() -> "Prompts":
    """Returns standard input as one prompt."""
    from moral_jax.workflows.generate import Prompts

    text = sys.stdin.buffer.read().decode("utf-8", errors="replace").strip()
    if not text:
        raise UserError("standard input: holds no prompt; pass a file, or pipe a text")
    return Prompts([Example("standard input", "", ("",), (1.0,), text=text)], {"sha256": {}})


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Writes."""
    answers = sys.stdout
    config, run = shared.who_answers(args, rest)
    if config.respondent.kind != "local":
        raise UserError(f"config.respondent.kind={config.respondent.kind!r}: only a local model writes replies")
    if "" in args.stop:
        raise UserError("--stop='': an empty text ends every reply at once")
    if args.out:
        shared.only_given(args, "--out writes JSON lines", "json")
    try:
        how = SampleConfig(**{name: getattr(args, name) for name in docstrings(SampleConfig)})
    except UserError as e:
        raise UserError(
            re.sub(r"config\.rollout\.sample\.(\w+)", lambda m: f"--{m[1].replace('_', '-')}", str(e))
        ) from None
    from moral_jax.runs.directory import RunDirectory
    from moral_jax.runs.written import lines_of
    from moral_jax.runtime import distributed
    from moral_jax.workflows import generate

    if args.out:
        generate.check_out(args.out)
    with contextlib.redirect_stdout(sys.stderr):  # replies alone stand in the output
        fields = FieldsConfig() if run else config.task.fields  # a run's columns are those of another file
        prompts = _prompt() if args.file == "-" else generate.prompts_of(args.file, fields)
        directory = RunDirectory(run) if run else None
        if args.out:
            with preemption.listening():
                path = generate.write(config, prompts, how, args.stop, directory, args.out)
            if distributed.is_primary():
                info(f"replies: {path}")
            return
        found = dict(generate.replies(config, prompts.rows, how, args.stop, directory))
    if not distributed.is_primary():
        return
    for line in [line for place in range(len(prompts.rows)) for line in lines_of(place, found[place])]:
        text = json.dumps(line, ensure_ascii=not terminal.knows_all(answers)) if args.json else line["text"]
        print(visible(text), file=answers)
