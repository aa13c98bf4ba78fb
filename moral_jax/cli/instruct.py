"""`moral-jax instruct`: values and prompts in; a writer of instructions that make a model keep to the values out."""

import argparse
import dataclasses
from pathlib import Path

from moral_jax.cli import search as of_search
from moral_jax.cli import shared
from moral_jax.config.sample import SampleConfig
from moral_jax.config.search import InstructConfig
from moral_jax.tasks import values as principles
from moral_jax.types import UserError

DESCRIPTION = """\
Trains a writer of instructions that stand before a prompt, on how much better the answers keep to a value.

  moral-jax instruct VALUES.jsonl --prompts=PROMPTS.jsonl --model=TARGET --writer=WRITER --judge=contains:tea \\
      --fixed="Do not mention tea." --out=runs/instruct
  moral-jax instruct --replay=runs/instruct

Each round the writer writes n instructions for a prompt, the target answers under each, and the writer learns the best
of them, weighted by compliance x fluency. The page compares no instruction, the fixed sentence, the best of n of the
untrained writer and the trained one on held-out prompts, with what they cost: perplexity, length, refusals. It shows no
texts; OUT/log.jsonl and OUT/round-N.jsonl hold them word for word. docs/search.md says more.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of instructions."""
    parser.add_argument("values", metavar="VALUES", nargs="?", help="a table of values")
    shared.add_model(parser)
    of_search.add_judging(parser)
    parser.add_argument("--writer", metavar="MODEL", help="a local model that is trained to write instructions")
    parser.add_argument("--fixed", metavar="TEXT", help="the fixed sentence; default: the value's own statement")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where everything goes (default: runs/instruct)")
    parser.add_argument("--replay", metavar="DIR", type=Path, help="come to the same again from a log, and ask nobody")
    of_search.add_settings(parser.add_argument_group("how it learns"), InstructConfig)
    shared.add_resamples(parser)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Trains and compares."""
    shared.check_counts(args, "resamples")
    if args.replay:
        of_search.check_replay(args, rest, ("values", "prompts", "judge", "labels", "writer", "fixed", "out"),
                               InstructConfig)  # fmt: skip
        from moral_jax.workflows import instruct

        shared.show(instruct.make(args.replay, None, None, None, {}, args.resamples))
        return
    if not args.values or not args.writer:
        raise UserError("VALUES is needed: a table of values" if not args.values else "--writer=MODEL is needed")
    s = of_search.settings(args, InstructConfig)
    found = principles.read(args.values)
    prompts = of_search.prompts_of(args.prompts)
    config, of_run = shared.who_answers(args, rest)
    from moral_jax.workflows import instruct, violations, writers
    from moral_jax.workflows.evaluate import named

    instruct.divided(found, prompts, s)  # refuses too few before anything is loaded
    judges = violations.judges_of(found, args.judge)
    agreements = violations.checked(list(judges.values()), args.labels)
    writer, writer_run = named(args.writer)
    if writer_run or writer.respondent.kind != "local":
        raise UserError(f"--writer={args.writer}: expected a local model that can be trained; export a run first")
    how = SampleConfig(max_tokens=s.max_tokens, temperature=s.temperature)
    target = writers.of(config, of_run, how)
    about = {
        "settings": dataclasses.asdict(s),
        "values": [value._asdict() for value in found],
        "prompts": prompts,
        "fixed": args.fixed or "",
        "target": target.about,
        "writer": args.writer,
        "judges": violations.about_judges(judges, agreements),
    }
    shared.show(instruct.make(args.out or Path("runs/instruct"), about, target, writer, judges, args.resamples))
