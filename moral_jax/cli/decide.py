"""`moral-jax decide`."""

import argparse
import dataclasses
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.tasks import case as cases
from moral_jax.types import UserError

DESCRIPTION = f"""\
Chooses an action of a case by what is prescribed in what may be the case, and says why.

  moral-jax decide visit                                       # a made-up sample: one command to a page
  moral-jax decide CASE.toml --out=DIR
  moral-jax decide CASE.toml --model=OWNER/MODEL               # the model says what holds where
  moral-jax decide CASE.toml --margin=0.1 --temperature=0.2 --seed=3
  moral-jax decide CASE.toml --rows=moral.jsonl --config=votes/moca --model=OWNER/MODEL    # how near to people's votes?

CASE.toml has contexts with probabilities, prescripts with weights and how probable it is that they hold in each
context (or a model says so), and actions with utilities under every prescript. Nothing is chosen if the best action is
not ahead by the margin. Shipped: {", ".join(cases.shipped())}. Formulas and the file: docs/decide.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a decision."""
    parser.add_argument("case", metavar="CASE", help="a CASE.toml, or the name of a shipped one")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where everything goes (default: runs/NAME)")
    parser.add_argument(
        "--temperature", metavar="T", type=float, help="0: the best; above: draw one (default: the case's)"
    )
    parser.add_argument("--margin", metavar="M", type=float, help="choose nothing below it (default: the case's)")
    parser.add_argument("--seed", metavar="N", type=int, help="of the draw (default: the case's)")
    rows = parser.add_argument_group("agreement with people")
    rows.add_argument("--rows", metavar="FILE", help="rows with votes, to be decided by the case's prescripts; read as "
                      "--config says")  # fmt: skip
    rows.add_argument("--limit", metavar="N", type=int, help="the first N rows only")
    shared.add_resamples(rows)
    shared.add_model(parser, several=True)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Decides."""
    case = cases.read(args.case)
    given = {
        f.name: getattr(args, f.name)
        for f in dataclasses.fields(case.choice)
        if getattr(args, f.name, None) is not None
    }
    for name, value in given.items():
        if not 0 <= value < float("inf"):
            raise UserError(f"--{name}={value}: expected a number of at least 0")
    case = case._replace(choice=dataclasses.replace(case.choice, **given))
    asks = shared.is_asked(args)
    if not asks:
        shared.no_more(rest)
    if args.rows is not None:
        _agreement(args, rest, case)
        return
    if args.limit is not None:
        raise UserError("--limit: is of rows that people voted on; pass --rows=FILE too")
    from moral_jax.workflows import decide

    respondents = shared.respondents(args, rest) if asks else []
    shared.show(decide.make(case, respondents, args.out or Path("runs") / case.path.stem, shared.budget(args)))


def _agreement(args: argparse.Namespace, rest: list[str], case: cases.Case) -> None:
    """Decides rows that people voted on."""
    if not (args.model or args.run or args.api_model):
        raise UserError(f"--rows={args.rows}: a model says what holds in a row; pass --model=... too")
    if given := [name for name in ("temperature", "margin", "seed") if getattr(args, name) is not None]:
        raise UserError(f"--{given[0]}: is of a choice; with --rows=FILE the shares of options are compared with votes")
    shared.check_counts(args, "limit", "resamples")
    from moral_jax.workflows import agreement

    respondents = shared.respondents(args, rest)
    asked = agreement.questions(case, args.rows, respondents[0].config.task, args.limit)
    out = args.out or Path("runs") / f"{case.path.stem}-{Path(args.rows).name.partition('.')[0]}"
    shared.show(agreement.make(asked, case, respondents, out, shared.budget(args), args.resamples))
