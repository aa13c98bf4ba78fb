"""`moral-jax eval`."""

import argparse
import re
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.config import Config, parsing

DESCRIPTION = """\
Asks a respondent about rows with votes, and writes a run directory: records, metrics.json and the page.

  moral-jax eval --model=run:runs/mine --path=rows.jsonl --out=runs/mine-on-rows
  moral-jax eval --model=OWNER/MODEL --config=demo
  moral-jax eval --model=api:gpt-4o --config=demo --yes
  moral-jax eval --model=baseline:prior --config=demo
  moral-jax eval --model=scripted:uniform --config=demo

Without --path, the validation and test rows of the config's task are asked about. Baselines are fitted to its training
rows: prior, stratified; for options with words of their own fewest_words, most_words, fewest_characters,
most_characters, logistic_ranker, style_ranker; for options that are the same in all rows logistic. An API's replies are
kept: the same command again is free, and goes on where it was stopped.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of evaluation."""
    shared.add_model(parser)
    parser.add_argument("--path", metavar="FILE", help="rows in the task's format, .jsonl or .jsonl.gz")
    parser.add_argument(
        "--out", "--workdir", dest="out", metavar="DIR", type=Path, help="where the run goes (default: runs/<names>)"
    )


def _out(args: argparse.Namespace, config: Config, run: Path | None) -> Path:
    """Returns the default directory: who was asked about what."""
    who = f"{run.resolve().name}-answers" if run else config.respondent.name or Path(config.model.path).stem
    rows = [Path(args.path).name.partition(".")[0]] if args.path else []
    names = [*([parsing.run_name(args.config)] if args.config else []), *rows, who]
    return Path("runs") / re.sub(r"[^\w.=+-]+", "-", "-".join(names))


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Evaluates."""
    config, run = shared.who_answers(args, rest)
    budget = shared.budget(args)
    shared.check_extras(config)
    from moral_jax.runs.directory import RunDirectory
    from moral_jax.workflows.evaluate import evaluate

    out = args.out or _out(args, config, run)
    shared.show(evaluate(config, out, budget, args.path, RunDirectory(run) if run else None))
