"""`moral-jax probe`."""

import argparse
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.runtime import terminal
from moral_jax.types import UserError

DESCRIPTION = """\
Looks inside models: what each layer holds about the rows of a task, and how two models differ.

  moral-jax probe statements --model=OWNER/MODEL --out=runs/truth           # shipped rows: true and false statements
  moral-jax probe statements --condition=card=red,blue --label=card --model=OWNER/MODEL    # a planted bit
  moral-jax probe statements --model=before=OWNER/MODEL --model=after=run:runs/mine
  moral-jax probe VOTES.csv --config=MINE.py --label=FIELD --model=OWNER/MODEL

ROWS is a folder with task.toml, a shipped one, or a file: rows of a questionnaire, or any table that --config
describes. The label is the right option (else the one with most votes), or --label: a variable, a group, or an axis of
conditions. The page has a curve over layers for each number: probe accuracy beside control labels, words alone and the
most frequent label; the logit difference; and, of several models, debiased CKA and directions. Rows that share a key
never stand on both sides. A probe that finds a label is no proof that the model uses it: docs/probe.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of probing."""
    parser.add_argument("rows", metavar="ROWS", help="a folder with task.toml, a shipped one, or a file of rows")
    shared.add_model(parser, several=True)
    parser.add_argument("--label", metavar="FIELD", help="what is looked for (default: the right option)")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where everything goes (default: runs/NAME-probe)")
    parser.add_argument(
        "--condition", metavar="AXIS=ID,...", action="append", default=[],
        help="ask under these conditions of an axis only; may come several times",
    )  # fmt: skip
    parser.add_argument("--limit", metavar="N", type=int, help="the first N rows only")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of folds and control labels (default: 0)")
    parser.add_argument("--keep-states", action="store_true", help="write the states too, states-N-NAME.npz")
    shared.add_resamples(parser)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Probes."""
    shared.check_counts(args, "limit", "resamples")
    if args.seed < 0:
        raise UserError(f"--seed={args.seed}: expected 0 or more")
    from moral_jax.workflows import probe, probe_rows
    from moral_jax.workflows.questionnaire import chosen_conditions

    respondents = shared.respondents(args, rest)
    config = respondents[0].config.task if args.config else None
    asked = probe_rows.read(args.rows, chosen_conditions(args.condition), config, args.label, args.limit)
    title = terminal.printable(asked.folder.title or asked.folder.name)
    print(f"{title}: {len(asked.examples)} rows, label {terminal.printable(asked.label)}")
    out = args.out or Path("runs") / f"{Path(args.rows).stem}-probe"
    shared.show(probe.probe(asked, respondents, out, args.seed, args.resamples, keeps_states=args.keep_states))
