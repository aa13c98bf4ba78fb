"""`moral-jax development`."""

import argparse
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.types import UserError

DESCRIPTION = """\
Makes the rows of AI Development Support (arXiv 2502.19798): texts to learn, pairs of a higher and a lower stage that
are about as long, the same swapped, and held-out prompts.

  moral-jax development records --out=rows
  moral-jax study --config=studies/development:rows --config.model.path=OWNER/MODEL

records/scenarios.jsonl: id, situation, temptation. records/replies.jsonl: scenario, experience, introspection,
analysis, hypothesis, reply, stage (1 to 6, as a judge gave it). See docs/stages.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of making rows."""
    parser.add_argument("records", metavar="DIR", type=Path, help="the folder with both files")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder")
    parser.add_argument("--least", metavar="N", type=int, default=4, help="lowest stage that is learned (default: 4)")
    parser.add_argument("--test", metavar="S", type=float, default=0.25, help="held-out scenarios (default: 0.25)")


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Makes the rows."""
    from moral_jax.tasks import development

    shared.no_more(rest)
    if args.least not in development.STAGES:
        raise UserError(f"--least={args.least}: expected a stage from 1 to 6")
    if not 0 < args.test < 1:
        raise UserError(f"--test={args.test}: expected a share between 0 and 1")
    if args.out.exists() and any(args.out.iterdir()):
        raise UserError(f"--out={args.out}: is not empty; name a new folder")
    made = development.make(args.records, args.least, args.test)
    development.write(made, args.out)
    for name, rows in made.rows.items():
        print(f"{args.out / name}.jsonl: {len(rows)} rows")
    print(f"left out: {made.left} pairs that differ in length by more than {development.WITHIN:.0%}")
