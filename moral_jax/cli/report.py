"""`moral-jax report`."""

import argparse
from pathlib import Path

from moral_jax.cli import shared

DESCRIPTION = """\
Writes a run's page again from its files.

  moral-jax report runs/mine
  moral-jax report runs/mine --statement=fairness.toml     # with a comparison of groups, as the statement claims it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the run, and what is claimed about its groups."""
    parser.add_argument("run", type=Path, metavar="DIR", help="a run directory")
    groups = parser.add_argument_group("groups, of a run on votes (docs/fairness.md)")
    groups.add_argument("--statement", metavar="FILE", help="compare groups by the metrics that it states")
    groups.add_argument("--reference", metavar="GROUP", help="compare all others with it (default: all pairs)")
    shared.add_resamples(groups)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Writes the page."""
    shared.no_more(rest)
    shared.check_counts(args, "resamples")
    if args.statement is None:
        shared.only_given(args, "no groups are compared without --statement", "reference")
        from moral_jax.workflows.summarise import write_page

        print(f"report: {write_page(args.run).html}")
        return
    from moral_jax.workflows import fairness

    written = fairness.on_page(args.run, fairness.stated(args.statement), args.resamples, args.reference)
    print(f"report: {written.html}")
