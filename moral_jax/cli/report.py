"""`moral-jax report`."""

import argparse
from pathlib import Path

from moral_jax.cli import shared

DESCRIPTION = "Writes a run's page again from its files."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the run."""
    parser.add_argument("run", type=Path, metavar="DIR", help="a run directory")


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Writes the page."""
    shared.no_more(rest)
    from moral_jax.workflows.summarise import write_page

    print(f"report: {write_page(args.run).html}")
