"""`moral-jax judge`: replies in, what judges say of them out."""

import argparse
from pathlib import Path

from moral_jax.cli import ask_replies, shared
from moral_jax.judges import rubric
from moral_jax.judges.table import JUDGES
from moral_jax.runtime import terminal
from moral_jax.types import UserError

DESCRIPTION = f"""\
Judges replies: numbers with intervals, each judge's agreement with people's labels beside its name, kappa of two judges
of one thing.

  moral-jax judge replies.jsonl --judge=refusal,sentiment
  moral-jax judge replies.jsonl --judge=rubric:harm@OWNER/MODEL,refusal --out=runs/judged
  moral-jax judge replies.jsonl --judge=refusal --keep="refusal<0.5" --out=answered
  moral-jax judge --judge=refusal --labels=mine.jsonl

REPLIES is what moral-jax generate, ask or a run writes, or a table with reply or text, and maybe prompt. Without it,
the agreement of judges is printed alone. The same names are rewards (rollout.reward="0.5*refusal | run:DIR").

judges:
{
    chr(10).join(
        f"  {name + (f':{kind.setting}' if kind.setting else ''):<22} {kind.description}"
        for name, kind in JUDGES.items()
    )
}
  {"FILE.py:FUNCTION":<22} your function: a list of replies in, a list of numbers out
  {"all(A,B), any(A,B)":<22} 1 where all, or any, say yes; not(A)

rubrics: {", ".join(rubric.shipped())}, or FILE.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of judging."""
    parser.add_argument("file", nargs="?", metavar="REPLIES", help="a table of replies")
    ask_replies.add_judges(parser, "who judges, of the list above")
    parser.add_argument("--out", metavar="DIR", type=Path, help="a new folder for records, numbers and page")
    parser.add_argument(
        "--keep", metavar="JUDGE>=N", action="append", default=[],
        help="write the rows that pass to DIR/kept.jsonl (>=, <=, >, <); may come several times",
    )  # fmt: skip
    parser.add_argument("--harmful", action="store_true", help="show no text on the page, and keep none in records")
    shared.add_resamples(parser)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Judges."""
    shared.no_more(rest)
    shared.check_counts(args, "resamples")
    if not args.judge:
        raise UserError("nobody is named to judge: pass --judge=NAME, such as refusal (--help lists all)")
    from moral_jax.report import judged
    from moral_jax.workflows import judge

    if args.file is None:
        if flag := next((name for name in ("out", "keep", "harmful") if getattr(args, name)), None):
            raise UserError(f"--{flag}: needs REPLIES, a table of replies")
        for one, agreement in judge.agreements(args.judge, args.judge_model, args.labels):
            print(terminal.printable(f"{one.name}: {judged.agreement_words(agreement)}"))
        return
    if args.keep and not args.out:
        raise UserError(f"--keep={args.keep[0]}: needs --out=DIR, where kept.jsonl is written")
    found = judge.judge(
        args.file, args.judge, args.judge_model, args.labels, args.out, args.keep, args.resamples, harmful=args.harmful
    )  # fmt: skip
    if args.out:
        shared.show(found)
    else:
        print(terminal.printable(f"\n{found.table}\n\n{found.verdict}"))
