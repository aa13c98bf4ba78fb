"""`moral-jax licences`."""

import argparse
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.types import UserError

DESCRIPTION = """\
Lists the licences of a run's data and models, and what they ask of whoever publishes its weights.

  moral-jax licences runs/mine
  moral-jax licences runs/mine --publish                     # exit code 2 if a licence forbids it, or is unknown
  moral-jax licences runs/mine --publish --accept=moca       # a person's word for one set, by its name
  moral-jax licences                                         # what may train, ship and test, of the sets known here

What is accepted is noted in licences.json of the run, and its card says so. This is bookkeeping, not legal advice.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of licences."""
    parser.add_argument("run", type=Path, nargs="?", metavar="DIR", help="a run; default: the table of known sets")
    parser.add_argument("--publish", action="store_true", help="refuse what a licence forbids, or that has none")
    parser.add_argument(
        "--accept", metavar="NAME", action="append", default=[],
        help="publish in spite of the licence of a set or model, named as in the list; may come several times",
    )  # fmt: skip
    shared.add_documents(parser)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Lists licences, and refuses publishing if that is asked."""
    shared.no_more(rest)
    shared.check_package("license_expression", "documents")
    from moral_jax.report.words import Table, markdown

    if args.run is None:
        from moral_jax.tasks import known

        shared.only_given(args, "no run is named", "publish", "accept", "data", "base_licence")
        print(markdown(Table(known.HEADER, known.rows())))
        return
    if args.accept and not args.publish:
        raise UserError(f"--accept={args.accept[0]}: is of publishing; pass --publish too")
    from moral_jax.workflows import licences

    print(licences.listed(args.run, args.data, args.base_licence))
    if args.publish:
        print(licences.publish(args.run, args.data, args.base_licence, args.accept))
