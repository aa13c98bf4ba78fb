"""`moral-jax tally`."""

import argparse
from pathlib import Path

from moral_jax.analysis.aggregate import WAYS
from moral_jax.analysis.tallies.aggregators import DEFAULT
from moral_jax.analysis.tallies.aggregators import DESCRIPTION as OF_GROUPS
from moral_jax.analysis.tallies.aggregators import NAME as AGGREGATORS
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
  moral-jax tally ballots --aggregate=plurality
  moral-jax tally pluralism --as=aggregators

A record is a JSON object a line with at least row, options and probabilities; respondent, condition, orders, tags,
labels, gold, counts and groups are read where they are there (docs/questionnaires.md). Questionnaires of
frequencies, and votes of groups (--as=aggregators), need no answers and are counted as they are.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of counting."""
    parser.add_argument("dir", metavar="DIR", help="where records.jsonl is; or a questionnaire that nobody answers")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where numbers and page go (default: DIR, runs/NAME)")
    known = (
        "; ".join(f"{name}: {tally.description}" for name, tally in TALLIES.items()) + f"; {AGGREGATORS}: {OF_GROUPS}"
    )
    parser.add_argument("--as", dest="tally", metavar="TALLY", help=f"default: the questionnaire's. {known}")
    parser.add_argument(
        "--aggregate", metavar="WAY", default=DEFAULT,
        help=f"of {AGGREGATORS}, the way whose winner the page begins with: {', '.join(WAYS)}",
    )  # fmt: skip
    shared.add_resamples(parser)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Counts."""
    shared.no_more(rest)
    shared.check_counts(args, "resamples")
    from moral_jax.workflows import tally

    folder = Path(args.dir)
    if not (folder / RECORDS).exists() and (args.dir in shipped() or (folder / TASK).exists()):
        shared.show(tally.tally_folder(args.dir, args.out, args.aggregate, args.tally, args.resamples))
        return
    if args.aggregate != DEFAULT and args.tally != AGGREGATORS:
        raise UserError(f"--aggregate={args.aggregate}: is of --as={AGGREGATORS}, and {folder} holds answers")
    if not (folder / RECORDS).exists():
        raise UserError(f"{folder}: has no {RECORDS}; expected a directory that moral-jax ask has written")
    shared.show(tally.tally(folder, args.tally, args.resamples, args.out, args.aggregate))
