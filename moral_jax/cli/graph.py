"""`moral-jax graph`."""

import argparse
from pathlib import Path

from moral_jax.analysis.graph import Keep
from moral_jax.cli import shared
from moral_jax.types import UserError

DESCRIPTION = """\
Ranks values by votes on which of two is wiser (a moral graph), and writes numbers, a page, and the winners for use.

  moral-jax graph wiser                                             # a made-up sample: one command to a page
  moral-jax graph VOTES.jsonl --cards=CARDS.jsonl --out=DIR
  moral-jax graph VOTES.jsonl --cards=CARDS.jsonl --without-voter=ann --without-voter='copy-*'
  moral-jax graph wiser --model=OWNER/MODEL --condition=persona=none,nurse      # models vote, each persona once
  moral-jax graph --cards=CARDS.jsonl --personas=PERSONAS.jsonl --model=run:runs/mine

A card a line: {"id": "truth", "title": "Truth", "policies": ["WHAT one attends to", ...], "contexts": ["At work"]}
A vote a line: {"voter": "ann", "from": "truth", "to": "care", "context": "At work", "answer": "wiser"}
The answer is wiser, not_wiser or unsure. With --model the same pairs are asked, both ways, under every persona (a line
of conditions.jsonl, docs/questionnaires.md); without votes all pairs of cards that share a context. Formulas:
docs/graph.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a graph."""
    parser.add_argument("votes", metavar="VOTES", nargs="?", help="a file of votes, a folder, or a shipped one: wiser")
    parser.add_argument("--cards", metavar="FILE", help="the cards that the votes are on")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where everything goes (default: runs/NAME)")
    parser.add_argument(
        "--without-voter", metavar="NAME", action="append", default=[],
        help="say what changes without a voter, or all that a pattern such as 'copy-*' names; may come several times",
    )  # fmt: skip
    usual = Keep()
    kept = parser.add_argument_group("which edges are kept")
    kept.add_argument("--least-wiser", metavar="N", type=float, default=usual.wiser,
                      help=f"votes for wiser (default: {usual.wiser:g})")  # fmt: skip
    kept.add_argument("--least-likelihood", metavar="P", type=float, default=usual.likelihood,
                      help=f"of being wiser (default: {usual.likelihood:g})")  # fmt: skip
    kept.add_argument("--most-entropy", metavar="BITS", type=float, default=usual.entropy,
                      help=f"of the answers (default: {usual.entropy:g} of at most 2)")  # fmt: skip
    shared.add_resamples(parser)
    asked = parser.add_argument_group("models that vote")
    asked.add_argument("--personas", metavar="FILE", help="conditions, a JSON object a line; in place of the folder's")
    asked.add_argument(
        "--condition", metavar="AXIS=ID,...", action="append", default=[],
        help="vote under these conditions of an axis only; may come several times",
    )  # fmt: skip
    shared.add_model(parser, several=True)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Counts votes, and asks for them before if a model is named."""
    shared.check_counts(args, "resamples")
    for name in ("least_wiser", "least_likelihood", "most_entropy"):
        if not 0 <= (value := getattr(args, name)) < float("inf"):
            raise UserError(f"--{name.replace('_', '-')}={value}: expected a number of at least 0")
    asks = shared.is_asked(args)
    for flag in ("personas", "condition"):
        if getattr(args, flag) and not asks:
            raise UserError(f"--{flag}: is of models that vote; pass --model=... too")
    if not asks:
        shared.no_more(rest)
    shared.check_package("networkx", "values")
    from moral_jax.workflows import graph, questionnaire

    chosen = questionnaire.chosen_conditions(args.condition)
    found = graph.read(args.votes, args.cards, args.personas, chosen, asks=asks)
    respondents = shared.respondents(args, rest) if asks else []
    keep = Keep(args.least_wiser, args.least_likelihood, args.most_entropy)
    out = args.out or Path("runs") / found.folder.name
    shared.show(graph.make(found, respondents, out, shared.budget(args), keep, args.resamples, args.without_voter))
