"""`moral-jax tally`."""

import argparse
from pathlib import Path

from moral_jax.analysis.tallies.count import TALLIES
from moral_jax.cli import shared
from moral_jax.runs.answers import RECORDS
from moral_jax.tasks.questionnaire.folder import TASK, shipped
from moral_jax.types import UserError

DESCRIPTION = """\
Counts the answers to a questionnaire again, or otherwise: DIR has a records.jsonl, of moral-jax ask or of any program.

  moral-jax tally runs/policies
  moral-jax tally runs/dilemmas --as=profile
  moral-jax tally wild_values --out=runs/values

A record is a JSON object a line with at least row, options and probabilities; respondent, condition, orders, tags,
labels, gold, counts and groups are read where they are there (docs/questionnaires.md). A questionnaire that has a table
of frequencies in place of rows is counted as it is.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of counting."""
    parser.add_argument("dir", metavar="DIR", help="where records.jsonl is; or a questionnaire of frequencies")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where numbers and page go (default: DIR, runs/NAME)")
    known = "; ".join(f"{name}: {tally.description}" for name, tally in TALLIES.items())
    parser.add_argument("--as", dest="tally", metavar="TALLY", help=f"default: the questionnaire's. {known}")
    parser.add_argument("--resamples", metavar="N", type=int, default=1000, help="of the bootstrap (default: 1000)")


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Counts."""
    shared.no_more(rest)
    if args.resamples < 1:
        raise UserError(f"--resamples={args.resamples}: expected at least 1")
    from moral_jax.workflows import questionnaire

    folder = Path(args.dir)
    if not (folder / RECORDS).exists() and (args.dir in shipped() or (folder / TASK).exists()):
        shared.show(questionnaire.tally_frequencies(args.dir, args.out or Path("runs") / folder.name))
        return
    if not (folder / RECORDS).exists():
        raise UserError(f"{folder}: has no {RECORDS}; expected a directory that moral-jax ask has written")
    shared.show(questionnaire.tally(folder, args.tally, args.resamples, out=args.out))
