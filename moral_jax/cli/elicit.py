"""`moral-jax elicit`."""

import argparse
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.runtime import terminal
from moral_jax.types import UserError

DESCRIPTION = """\
Elicits what a respondent values: pairs of outcomes are shown in both orders, and utilities are fitted to the answers.

  moral-jax elicit outcomes --model=scripted:number --out=runs/sample    the shipped sample, without a model
  moral-jax elicit OPTIONS.jsonl --model=OWNER/MODEL --out=runs/values
  moral-jax elicit outcomes --condition=question=none,power --also=discounting,choices --model=run:runs/mine

OPTIONS.jsonl has an object a line: {"id", "text", "group"?}; {"good", "amount"} besides for numbers of a good,
{"of": {id: percent}} for lotteries, {"next": [ids]} for states of a process. Which pairs are asked follows from the
seed and the answers so far: the same command again asks nothing twice, and goes on where it was killed. Several --model
make one page.

Utility control takes three commands: rows of an assembly's shares, training, the page (docs/elicit.md):

  moral-jax elicit OPTIONS.jsonl --assembly=VOTES.jsonl --write-rows=rows
  moral-jax train --config=control --config.task.path=rows/train.jsonl ... --workdir=runs/mine
  moral-jax elicit rows/held_out.jsonl --assembly=rows/test.jsonl --model=before=MODEL --model=after=run:runs/mine
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of eliciting."""
    parser.add_argument("options", metavar="OPTIONS", help="outcomes: a .jsonl or .json file, a folder, or: outcomes")
    shared.add_model(parser, several=True)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="where answers, numbers and page go (default: runs/NAME)"
    )
    parser.add_argument(
        "--condition", metavar="AXIS=ID,...", action="append", default=[],
        help="ask under these conditions; pairs are planned under the first, and asked under the others too",
    )  # fmt: skip
    parser.add_argument(
        "--also", metavar="PART,...", default="",
        help="discounting (money now or later), choices (open questions), lotteries (100 made of the outcomes)",
    )  # fmt: skip
    parser.add_argument("--no-floor", action="store_true", help="do not ask with invented words and without numbers")
    parser.add_argument("--samples", metavar="K", type=int, help="draw K answers in each order; default: exact shares")
    parser.add_argument("--limit", metavar="N", type=int, help="the first N outcomes only")
    parser.add_argument("--batch", metavar="N", type=int, help="pairs between two fits (default: 500)")
    parser.add_argument("--seed", metavar="N", type=int, default=42, help="of the plan (default: 42)")
    people = parser.add_argument_group("an assembly")
    people.add_argument(
        "--assembly", metavar="VOTES", type=Path,
        help="votes on pairs of outcomes, or the directory of an elicitation (its conditions are the members)",
    )  # fmt: skip
    people.add_argument("--assembly-group", metavar="NAME", help="one group of them only")
    people.add_argument(
        "--write-rows", metavar="DIR", type=Path, help="write rows that train a model to have these shares; ask nobody"
    )
    shared.add_resamples(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="show three prompts and how many there will be, ask nobody"
    )


def _check(args: argparse.Namespace) -> None:
    shared.check_counts(args, "limit", "resamples", "samples", "batch")
    if args.seed < 0:
        raise UserError(f"--seed={args.seed}: expected 0 or more")
    for flag in ("write_rows", "assembly_group"):
        if getattr(args, flag) and not args.assembly:
            raise UserError(f"--{flag.replace('_', '-')}: needs --assembly=VOTES")


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Elicits."""
    _check(args)
    from moral_jax.workflows import assembly, elicit, outcomes
    from moral_jax.workflows.asking import config_for
    from moral_jax.workflows.questionnaire import chosen_conditions, prompts_of

    also = tuple(part for part in args.also.split(",") if part)
    how = outcomes.How(args.seed, args.batch or outcomes.How().batch, args.samples, args.limit, not args.no_floor, also)
    asked = outcomes.read(args.options, chosen_conditions(args.condition), how)
    said = (
        assembly.read(args.assembly, asked.folder.path, asked.outcomes, args.assembly_group) if args.assembly else None
    )
    if args.write_rows and said:
        shared.no_more(rest)
        print(terminal.printable(elicit.write_rows(asked, said, args.write_rows)))
        return
    print(f"{terminal.printable(asked.folder.title)}: {len(asked.outcomes)} outcomes, {outcomes.size(asked)}")
    if args.dry_run:
        config = config_for(shared.first_config(args, rest), asked.folder)
        shown = prompts_of(asked.examples(outcomes.first_pairs(asked)), config)
        print("\n" + "\n\n".join(map(terminal.printable, shown)))
        return
    shared.check_package("choix", "values")
    respondents = shared.respondents(args, rest)
    out = args.out or Path("runs") / Path(args.options).stem
    people = assembly.counted(said) if said else None
    shared.show(elicit.elicit(asked, respondents, out, shared.budget(args), people, args.resamples))
