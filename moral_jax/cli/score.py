"""`moral-jax score`: texts in, a number for each out."""

import argparse
import contextlib
import json
import sys

from moral_jax.cli import shared
from moral_jax.runtime import terminal
from moral_jax.runtime.strict_json import visible
from moral_jax.types import UserError

DESCRIPTION = """\
Gives one number for each text: of a reward model its score, of any other model the log-probability of the text.

  moral-jax score --run=runs/reward replies.jsonl
  moral-jax score --model=OWNER/MODEL replies.jsonl --json

Rows are those of task texts: messages that end with a reply, prompt and completion, or a plain text.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of scoring."""
    shared.add_model(parser)
    parser.add_argument("file", help="a table of texts: JSON lines, CSV, parquet ...")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: id, score, tokens")


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Scores."""
    answers = sys.stdout
    config, run = shared.who_answers(args, rest)
    if config.respondent.kind != "local":
        raise UserError(
            f"config.respondent.kind={config.respondent.kind!r}: only a local model says how likely texts are"
        )
    from moral_jax.runs.directory import RunDirectory
    from moral_jax.workflows.score import score_texts

    with contextlib.redirect_stdout(sys.stderr):  # scores alone stand in the output
        scored = score_texts(config, args.file, RunDirectory(run) if run else None)
    for one in scored:
        if args.json:
            said = visible(json.dumps(one._asdict(), ensure_ascii=not terminal.knows_all(answers)))
        else:
            said = f"{one.score:.4f}\t{visible(one.id)}"
        print(said, file=answers)
