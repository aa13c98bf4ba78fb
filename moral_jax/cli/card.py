"""`moral-jax card`."""

import argparse
from pathlib import Path

from moral_jax.cli import shared

DESCRIPTION = """\
Fills the card of a run, of answers to a questionnaire, or of a study: what was measured, on what, under which licences.

  moral-jax card runs/mine                                        # runs/mine/card.md
  moral-jax card runs/mine --charter=charter.toml --base-licence=Apache-2.0
  moral-jax card runs/mine --data=data.toml --out=README.md
  moral-jax card rows.jsonl --data=data.toml                      # the card of a data set

Every number comes from the results; none is typed. The card says what was not measured too. charter.toml has clauses,
each with the number that judges it and a bound, or the reason why there is none. data.toml beside a file of rows
declares its licence, source and use (docs/cards.md). This is bookkeeping, not legal advice.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a card."""
    parser.add_argument("results", type=Path, metavar="DIR", help="a run, answers or a study; or a file of rows")
    parser.add_argument("--charter", type=Path, metavar="FILE", help="clauses with evidence and bounds")
    parser.add_argument("--out", type=Path, metavar="FILE", help="(default: card.md in DIR, or beside the rows)")
    shared.add_documents(parser)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Writes the card."""
    shared.no_more(rest)
    shared.check_package("license_expression", "documents")
    if args.results.is_file() or (args.results.is_dir() and not any(args.results.rglob("*.json"))):
        from moral_jax.workflows import data_card

        shared.only_given(args, f"{args.results} is a set of rows", "charter", "base_licence")
        print(f"card: {data_card.write(args.results, args.data, args.out)}")
        return
    from moral_jax.report.card import CARD
    from moral_jax.workflows import card

    text = card.text_of(args.results, args.charter, args.data, args.base_licence)
    print(f"card: {card.save(args.out or args.results / CARD, text)}")
