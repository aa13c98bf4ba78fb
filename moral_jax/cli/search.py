"""`moral-jax search`: values in, prompts whose completions violate them out, beside random prompts."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from moral_jax.cli import shared
from moral_jax.config.parsing import docstrings
from moral_jax.config.sample import SampleConfig
from moral_jax.config.search import SearchConfig
from moral_jax.config.task import FieldsConfig
from moral_jax.tasks import values as principles
from moral_jax.types import UserError

DESCRIPTION = """\
Searches for innocent prompts whose completions violate a value, and compares them with random prompts at the same cost.

  moral-jax search VALUES.jsonl --prompts=PROMPTS.jsonl --model=OWNER/MODEL --judge=contains:tea --out=runs/search
  moral-jax search VALUES.jsonl --prompts=P.jsonl --model=run:runs/sft --judge=rubric:FILE.toml@OWNER/JUDGE \\
      --labels=LABELS.jsonl --rewriter=OWNER/MODEL --other-model=OWNER/OTHER --budget=400
  moral-jax search --replay=runs/search

A row of VALUES has a statement, and maybe id, foundation, and a judge of its own. The judge says from 0 to 1 how much a
text violates the value; the rewrites that a search tries must not violate it themselves. OUT/log.jsonl holds every
rewrite, completion and judgement, word for word, as it must to be replayed: keep that folder to yourself where texts
may do harm. The page and the terminal show numbers only. docs/search.md says more.
"""
WORDS = "words"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a search."""
    parser.add_argument("values", metavar="VALUES", nargs="?", help="a table of values")
    shared.add_model(parser)
    add_judging(parser)
    parser.add_argument("--rewriter", metavar="MODEL", default=WORDS, help="a model that rewrites prompts (default: "
                        "words, which puts words of other prompts in)")  # fmt: skip
    parser.add_argument("--other-model", metavar="MODEL", help="try on it too what was kept")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where everything goes (default: runs/search)")
    parser.add_argument("--replay", metavar="DIR", type=Path, help="come to the same again from a log, and ask nobody")
    how = parser.add_argument_group("how it searches")
    add_settings(how, SearchConfig)
    shared.add_resamples(parser)


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that name prompts, and who judges."""
    parser.add_argument("--prompts", metavar="FILE", help="prompts to begin with, as moral-jax generate reads them")
    parser.add_argument("--judge", metavar="JUDGE", help="says how much a text violates a value (docs/judges.md)")
    parser.add_argument(
        "--labels", metavar="[JUDGE=]FILE", action="append", default=[],
        help="texts that people have labelled (text, label), to check the judge by; default: its own, if it has some",
    )  # fmt: skip


def add_settings(group: argparse._ArgumentGroup, section: Any) -> None:
    """Adds a flag for each field of a section of numbers."""
    for name, said in docstrings(section).items():
        default = getattr(section, name)
        group.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, metavar="N",
                           help=f"{said} (default: {default})")  # fmt: skip


def settings(args: argparse.Namespace, section: Any) -> Any:
    """Returns a section from its flags; errors name the flag."""
    try:
        return section(**{name: getattr(args, name) for name in docstrings(section)})
    except UserError as e:
        raise UserError(str(e).replace(f"config.{section.SECTION}.", "--").replace("_", "-", 1)) from None


def prompts_of(path: str | None) -> list[str]:
    """Returns the different prompts of a file.

    Raises:
      UserError: none is named, or one is a conversation.
    """
    if path is None:
        raise UserError("--prompts=FILE is needed: the prompts that it begins with")
    from moral_jax.workflows import generate

    rows = generate.prompts_of(path, FieldsConfig()).rows
    if talk := next((row for row in rows if row.messages), None):
        raise UserError(f"{path}: row {talk.id!r} is a conversation; expected a prompt, a plain text")
    return list(dict.fromkeys(" ".join(row.text.split()) for row in rows))


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Searches."""
    shared.check_counts(args, "resamples")
    if args.replay:
        _replay(args, rest)
        return
    if not args.values:
        raise UserError("VALUES is needed: a table of values")
    s = settings(args, SearchConfig)
    found = principles.read(args.values)
    prompts = prompts_of(args.prompts)
    config, of_run = shared.who_answers(args, rest)
    from moral_jax.workflows import search, violations, writers
    from moral_jax.workflows.evaluate import named

    judges = violations.judges_of(found, args.judge)

    agreements = violations.checked(list(judges.values()), args.labels)
    how = SampleConfig(max_tokens=s.max_tokens, temperature=s.temperature)
    who = {search.TARGET: writers.of(config, of_run, how)}
    if args.other_model:
        other, other_run = named(args.other_model)
        who[search.OTHER] = writers.of(other, other_run.path if other_run else None, how)
    rewriter: writers.Rewriter = writers.Words(prompts)
    if args.rewriter != WORDS:
        model, model_run = named(args.rewriter)
        rewriter = writers.Model(args.rewriter, writers.of(model, model_run.path if model_run else None, how))
    about = search.about(found, prompts, s, who, rewriter, judges, agreements)
    shared.show(search.make(args.out or Path("runs/search"), about, who, rewriter, judges, args.resamples))


def _replay(args: argparse.Namespace, rest: list[str]) -> None:
    """Replays a log."""
    check_replay(args, rest, ("values", "prompts", "judge", "labels", "other_model", "out"), SearchConfig)
    if args.rewriter != WORDS:
        raise UserError("--rewriter: has no meaning beside --replay, as the log says it")
    from moral_jax.workflows import search

    shared.show(search.make(args.replay, None, {}, None, {}, args.resamples))


def check_replay(args: argparse.Namespace, rest: list[str], names: tuple[str, ...], section: Any) -> None:
    """Refuses flags that a replay does not read."""
    shared.no_more(rest)
    given = [name for name in names if getattr(args, name)] + ["model"] * shared.is_asked(args)
    given += [f.name for f in dataclasses.fields(section) if getattr(args, f.name) != f.default]
    if given:
        raise UserError(f"--{given[0].replace('_', '-')}: has no meaning beside --replay, as the log says it")
