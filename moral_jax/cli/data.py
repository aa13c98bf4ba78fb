"""`moral-jax data`."""

import argparse
import contextlib
import json
import sys
from typing import Any

from moral_jax.cli import shared
from moral_jax.config import Config, parsing
from moral_jax.types import UserError

DESCRIPTION = """\
Shows a data set before any run: rows of each split, options, votes, groups, what rows share, duplicates and overlap,
and three whole prompts with the tokens that their options are read from.

  moral-jax data ratings.csv --config.task.fields.options='yes|no' --config.task.fields.counts='n_yes|n_no'
  moral-jax data --config=votes/moca --config.task.path=moral.jsonl
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of showing data."""
    parser.add_argument("file", nargs="?", help="rows of task votes; default: those of the config")
    shared.add_config(parser, required=False, help="task, prompt and model")
    parser.add_argument("--no-prompts", action="store_true", help="no prompts, and so no tokenizer")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def _look(config: Config, with_prompts: bool) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """Returns the description, the first prompts, and what should be looked at."""
    from moral_jax.doctor import data_set
    from moral_jax.tasks.load import load

    data = load(config.task)
    about = data_set.describe(data)
    shown, remarks = [], data_set.warnings(about, config)
    if with_prompts:
        from moral_jax.doctor import examine, prompts

        try:
            shown = prompts.first(config, examine.find_model(config), data)
        except UserError as e:
            remarks.append(f"no prompts are shown: {e}")
    return about, shown, remarks


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Shows the data."""
    if args.file is None and args.config is None and not any(flag.startswith("--config.task.") for flag in rest):
        raise UserError("no data is named: pass a FILE, or --config=FILE")
    named = [f"--config.task.path={args.file}"] if args.file else []
    if args.file and not args.config:
        named.append("--config.task.name=votes")
    config = parsing.from_flags([*parsing.flags(args.config, named), *rest], file_needed=False)
    with contextlib.redirect_stdout(sys.stderr):  # what is said on the way must not stand in the JSON
        about, shown, remarks = _look(config, not args.no_prompts)
    if args.json:
        print(json.dumps(about | {"prompts": shown, "warnings": remarks}, ensure_ascii=False, indent=2))
        return
    from moral_jax.doctor.data_set import text_of

    print(text_of(about, shown))
    for remark in remarks:
        print(f"warning: {remark}", file=sys.stderr)
