"""`moral-jax development`."""

import argparse
import dataclasses
from pathlib import Path

from moral_jax.cli import ask_replies, shared
from moral_jax.cli import search as of_search
from moral_jax.config.development import LearnedConfig, RecordsConfig
from moral_jax.config.sample import SampleConfig
from moral_jax.runtime import places, terminal
from moral_jax.types import UserError

DESCRIPTION = """\
Makes the records and the rows of AI Development Support (arXiv 2502.19798).

  moral-jax development scenarios.jsonl --model=OWNER/WRITER --judge=rubric:stages@OWNER/JUDGE --out=records
  moral-jax development records --out=rows
  moral-jax study --config=studies/development:rows@OWNER/JUDGE --config.model.path=OWNER/MODEL

With --model, a model writes records for scenarios (id, situation, temptation, maybe experience): experience,
introspection, analysis and hypothesis, each after the parts before it, then a reply, whose stage a judge says. The same
command goes on where it was killed. Without, records (a folder with scenarios.jsonl and replies.jsonl; your own will
do) become rows: texts to learn, pairs of a higher and a lower stage that are about as long, the same swapped, and
held-out prompts. See docs/stages.md.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of records and rows."""
    parser.add_argument("source", metavar="SOURCE", help="a table of scenarios (with --model), or a folder of records")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder")
    of_search.add_settings(parser.add_argument_group("how records become rows"), LearnedConfig)
    of_search.add_settings(parser.add_argument_group("how records are written, with --model"), RecordsConfig)
    ask_replies.add_judges(parser, "says the stage of a reply, 1 to 6, such as rubric:stages@OWNER/MODEL")
    shared.add_model(parser)


def _refuse(args: argparse.Namespace, section: type, why: str) -> None:
    """Refuses the flags of a section that is not read."""
    for field in dataclasses.fields(section):
        if getattr(args, field.name) != field.default:
            raise UserError(f"--{field.name.replace('_', '-')}: is not read, as {why}; leave it out")


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Writes records, or makes rows of them."""
    if shared.is_asked(args):
        _refuse(args, LearnedConfig, "--model writes records; they become rows in the next call")
        _write(args, rest)
        return
    shared.no_more(rest)
    why = "no --model is named, so that rows are made of records"
    shared.only_given(args, why, "judge", "judge_model", "labels")
    _refuse(args, RecordsConfig, why)
    _make(args)


def _make(args: argparse.Namespace) -> None:
    """Makes rows of records."""
    from moral_jax.tasks import development

    s = of_search.settings(args, LearnedConfig)
    places.check_new("--out", args.out)
    if not Path(args.source).is_dir():
        raise UserError(f"{args.source}: is no folder of records; to have a model write some, pass --model and --judge")
    made = development.make(Path(args.source), s)
    development.write(made, args.out)
    for name, rows in made.rows.items():
        print(f"{args.out / name}.jsonl: {len(rows)} rows")
    print(f"left out: {made.left} pairs that differ in length by more than {development.WITHIN:.0%}")


def _write(args: argparse.Namespace, rest: list[str]) -> None:
    """Has records written."""
    from moral_jax.tasks import development as rows

    s = of_search.settings(args, RecordsConfig)
    if len(args.judge) != 1:
        raise UserError(
            "--judge=JUDGE is needed, once, and says the stage of a reply, such as rubric:stages@OWNER/MODEL"
        )
    found = rows.scenarios(Path(args.source))
    config, of_run = shared.who_answers(args, rest)
    judge_name, judged_by = args.judge[0], args.judge[0].partition("@")[2] or args.judge_model
    if judged_by and judged_by in (args.model, f"{shared.RUN}{args.run}"):
        raise UserError(f"--judge={judge_name}: is the model that writes, and would rate itself; name another")
    from moral_jax.judges import table
    from moral_jax.report.judged import agreement_words
    from moral_jax.workflows import agreeing, development, judging, writers

    judge = table.parse(judge_name, judging.behind(args.judge_model), "--judge")
    [agreement] = agreeing.of_judges([judge], args.labels)
    writer = writers.of(config, of_run, SampleConfig(max_tokens=s.max_tokens, temperature=s.temperature))
    made = development.make(args.out, development.about(found, s, writer, judge, agreement), writer, judge)
    print(f"{made.file}: {len(made.kept)} records; left out: {made.left} without one of their parts or a stage")
    print("stages: " + ", ".join(f"{stage}: {n}" for stage, n in development.histogram(made.kept).items()))
    print(terminal.printable(f"{judge.name}: {agreement_words(agreement)}"))
