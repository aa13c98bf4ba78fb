"""`moral-jax fairness`."""

import argparse
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.tasks import statement
from moral_jax.types import UserError

DESCRIPTION = f"""\
Compares groups in a table of scores, labels and groups: rates, calibration, gaps with intervals, and the conflicts
between them. No metric without its statement: fairness.toml says what each one claims, of whom, against which harm.

  moral-jax fairness risk --statement=risk                    # a made-up table: one command to a page
  moral-jax fairness table.csv --statement=fairness.toml
  moral-jax fairness table.csv --statement=fairness.toml --metric=true_positive_rate --reference=A
  moral-jax fairness runs/mine --statement=fairness.toml      # a run's votes, by groups; [records] says which

The page names what cannot hold together: where base rates differ, calibrated scores have unequal errors. To put the
same numbers on a run's own page: moral-jax report RUN --statement=FILE. Shipped: {", ".join(statement.shipped())}.
Formulas and the file: docs/fairness.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of comparing groups."""
    parser.add_argument("table", metavar="TABLE", help="CSV, JSON lines, parquet; a run, or answers; or a shipped one")
    parser.add_argument("--statement", metavar="FILE", help="what each metric claims, a fairness.toml or a shipped one")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where everything goes (default: runs/NAME-fairness)")
    parser.add_argument(
        "--metric", metavar="NAME", action="append", default=[],
        help="count these alone; may come several times (default: all that are stated)",
    )  # fmt: skip
    parser.add_argument("--reference", metavar="GROUP", help="compare all others with this group (default: all pairs)")
    shared.add_resamples(parser)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Compares groups."""
    shared.no_more(rest)
    shared.check_counts(args, "resamples")
    if args.statement is None:
        named = f" {args.metric[0]} needs one:" if args.metric else ""
        raise UserError(f"{args.table}: no metric without its statement;{named} pass --statement=FILE, a fairness.toml")
    from moral_jax.workflows import fairness

    said = fairness.stated(args.statement, args.metric)
    table = statement.table(args.table)
    out = args.out or Path("runs") / f"{table.resolve().name.partition('.')[0]}-fairness"
    shared.show(fairness.make(table, said, out, args.resamples, args.reference))
