"""`moral-jax ask`: lines of text or JSON in, a distribution for each out."""

import argparse
import contextlib
import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from moral_jax.cli import ask_replies, kaleido, shared
from moral_jax.config import Config
from moral_jax.config.task import TaskConfig
from moral_jax.runs.records import Record
from moral_jax.runtime import console, terminal
from moral_jax.runtime.strict_json import parse as parse_json
from moral_jax.runtime.strict_json import visible
from moral_jax.tasks.questionnaire import folder
from moral_jax.tasks.questionnaire.folder import KALEIDO, Folder, shipped
from moral_jax.tasks.rows import Row
from moral_jax.tasks.tables import lines
from moral_jax.tasks.votes import examples
from moral_jax.types import Example, UserError

DESCRIPTION = """\
Asks a respondent questions with options, and prints a distribution for each.

  echo "Was it wrong to leave? | yes | no" | moral-jax ask --model=run:runs/demo
  moral-jax ask --model=OWNER/MODEL questions.txt --json

One question a line: 'question | option | option', or JSON with question, options and maybe text.

With --task a whole questionnaire is asked, its rows under all of its conditions, and DIR gets records.jsonl, tally.json
and a page. What is answered already is not asked again; several --model make one page.

  moral-jax ask --task=policies --model=OWNER/MODEL --out=runs/policies
  moral-jax ask --task=my_folder --model=scripted:uniform --dry-run
  moral-jax ask --task=jailbreak --model=OWNER/MODEL --judge=target,refusal --out=runs/jailbreak
  moral-jax ask --task=bold --rows=gender_prompt.json --per-group=200 --model=OWNER/MODEL
  moral-jax ask --task=risk --condition=persona=none,nurse --model=before=OWNER/MODEL --model=after=run:runs/mine

With --task=kaleido any sentence is asked about: which values, rights and duties bear on it, and what they come to.

  moral-jax ask --task=kaleido --model=run:runs/kaleido "Biking to work instead of driving"
"""
BAR = 30
SEPARATOR = "|"
_TASK = frozenset({"out", "condition", "limit", "rows", "on_bad_row", "resamples", "dry_run"})
READS = {  # which flags each kind of asking reads, beside those that say who answers
    "lines": frozenset({"file", "json"}),
    "rows": _TASK | {"map"},
    "replies": _TASK | set(ask_replies.OWN),
    "sentences": frozenset({"file", "json", *kaleido.OWN}),
}
BRINGS = {"rows": "brings its questions", "replies": "brings its prompts", "sentences": "asks about single sentences"}
DEFAULTS = {"file": "-", "on_bad_row": "stop", "resamples": 1000}  # of flags that are never empty
UNSET: tuple[object, ...] = (None, "", [], False)
OF_THE_FOLDER = ("--config.task.", "--config.prompt.template", "--config.prompt.orders")  # what a questionnaire brings


def parse(line: str, where: str) -> Example:
    """Reads `question | option | option ...`, or an object with "question", "options" and maybe "text".

    Raises:
      UserError: fewer than two options, or no question; names the line.
    """
    if line.lstrip().startswith("{"):
        values: dict[str, Any] = parse_json(line, where)
    else:
        question, *options = [part.strip() for part in line.split(SEPARATOR)]
        if not question or len(options) < 2:
            raise UserError(f"{where}: expected 'question | option | option', found {line.strip()!r}")
        values = {"question": question, "options": options}
    given = values.get("options")
    counts = [1] * len(given) if isinstance(given, list) else None  # nobody voted yet
    row = Row({"id": where} | values | {"counts": counts}, where)
    return examples(row, TaskConfig(name="votes"))[0]


def read(stream: BinaryIO, name: str) -> Iterator[Example]:
    """One example per line that is not blank."""
    return (parse(line, where) for where, line in lines(stream, name))


def as_text(record: Record, is_unicode: bool) -> str:
    """A bar per option, and how much of its belief the model puts on the options at all, where they are tokens."""
    width = max(len(o) for o in record["options"])
    mark = "█" if is_unicode else "#"
    said = [terminal.printable(record["question"] or record["text"])]
    for option, p in zip(record["options"], record["probabilities"], strict=True):
        said.append(f"  {terminal.printable(option).ljust(width)}  {mark * round(BAR * p):<{BAR}}  {p:6.1%}")
    if record["option_mass"] is not None:
        said.append(f"  (probability on the options' tokens: {record['option_mass']:.1%})")
    return "\n".join(said)


def as_json(record: Record, is_unicode: bool) -> str:
    """One JSON object."""
    kept = ("id", "question", "text", "options", "probabilities", "option_mass", "entropy", "concentration")
    return visible(json.dumps({k: record[k] for k in kept}, ensure_ascii=not is_unicode))


def open_input(path: str) -> BinaryIO:
    """A file for reading.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return Path(path).open("rb")
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of asking."""
    shared.add_model(parser, several=True)
    parser.add_argument(
        "file", nargs="?", default="-", help="a file, or with --task=kaleido a sentence; default: standard input"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    task = parser.add_argument_group("a questionnaire")
    task.add_argument("--task", metavar="FOLDER", help=f"a folder with task.toml, or one of {', '.join(shipped())}")
    task.add_argument("--out", metavar="DIR", type=Path, help="where answers, numbers and page go (default: runs/TASK)")
    task.add_argument(
        "--condition", metavar="AXIS=ID,...", action="append", default=[],
        help="ask under these conditions of an axis only; may come several times",
    )  # fmt: skip
    task.add_argument("--limit", metavar="N", type=int, help="ask the first N rows only")
    task.add_argument("--rows", metavar="FILE", help="a table in place of the folder's rows, such as the original's")
    task.add_argument("--map", metavar="FILE", help="a table in place of the folder's map of tags")
    task.add_argument("--on-bad-row", choices=("stop", "drop"), default="stop", help="drop: leave bad rows out, named")
    shared.add_resamples(task)
    ask_replies.add_arguments(parser)
    kaleido.add_arguments(parser.add_argument_group("with --task=kaleido"))
    task.add_argument(
        "--dry-run", action="store_true", help="show three prompts and how many there will be, ask nobody"
    )


def _refuse_unread(args: argparse.Namespace, kind: str) -> None:
    """Refuses flags that one kind of asking does not read."""
    given = {name for name in READS["lines"].union(*READS.values()) if getattr(args, name) not in UNSET}
    given -= {name for name, default in DEFAULTS.items() if getattr(args, name) == default}
    for name in sorted(given - READS[kind]):
        flag = "FILE" if name == "file" else f"--{name.replace('_', '-')}"
        if not args.task:
            raise UserError(f"{flag}: is of a questionnaire; pass --task=FOLDER too")
        raise UserError(f"{flag}: has no meaning beside --task={args.task}, which {BRINGS[kind]}")


def _questions(args: argparse.Namespace, rest: list[str], task: Folder) -> None:
    """Asks a folder of questions."""
    from moral_jax.workflows import asking, questionnaire

    chosen = questionnaire.chosen_conditions(args.condition)
    drops_bad = args.on_bad_row == "drop"
    asked = questionnaire.read(args.task, chosen, args.limit, args.rows, args.map, drops_bad=drops_bad)
    rows = len(asked.parts[0].examples)
    title = terminal.printable(asked.folder.title or asked.folder.name)
    print(f"{title}: {rows} rows x {len(asked.parts)} conditions = {asked.size}")
    if args.dry_run:
        config = asking.config_for(shared.first_config(args, rest), asked.folder)
        print("\n" + "\n\n".join(map(terminal.printable, questionnaire.prompts(asked, config))))
        return
    respondents = shared.respondents(args, rest)
    out = args.out or Path("runs") / asked.folder.name
    shared.show(questionnaire.ask(asked, respondents, out, shared.budget(args), args.resamples))


def _one(args: argparse.Namespace, rest: list[str]) -> tuple[Config, Path | None]:
    """Returns the one respondent that is asked line by line."""
    named = shared.each_who_answers(args, rest)
    if len(named) > 1:
        raise UserError("several respondents answer only a questionnaire (--task=FOLDER); name one")
    return named[0][1:]


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Asks."""
    task = folder.read(args.task) if args.task else None
    kind = "lines" if task is None else "replies" if task.replies else "sentences" if task.tally == KALEIDO else "rows"
    _refuse_unread(args, kind)
    shared.check_counts(args, "limit", "resamples")
    if task is None:
        _lines(args, rest)
        return
    if own := [flag for flag in rest if flag.startswith(OF_THE_FOLDER)]:
        raise UserError(f"{own[0]}: has no meaning beside --task={args.task}, which {BRINGS[kind]}")
    {"rows": _questions, "replies": ask_replies.run, "sentences": kaleido.run}[kind](args, rest, task)


def _lines(args: argparse.Namespace, rest: list[str]) -> None:
    """Asks questions line by line."""
    answers = sys.stdout
    text_of = functools.partial(as_json if args.json else as_text, is_unicode=terminal.knows_all(answers))
    live = args.file == "-" and sys.stdin.isatty()
    examples = []
    if not live:  # reads everything before it loads anything, so that a bad line costs nothing
        stream = sys.stdin.buffer if args.file == "-" else open_input(args.file)
        examples = list(read(stream, args.file))
        if not examples:
            name = "standard input" if args.file == "-" else args.file
            raise UserError(f"{name}: holds no question; expected 'question | option | option' a line")
    config, run = _one(args, rest)
    shared.check_extras(config)
    from moral_jax.runs.directory import RunDirectory
    from moral_jax.workflows.evaluate import interview

    with contextlib.redirect_stdout(sys.stderr):  # answers alone stand in the output
        asking = interview(config, shared.budget(args), RunDirectory(run) if run else None)
        if not live:
            records = asking.records(examples)
            print("\n".join(map(text_of, records)), file=answers)
            return
        print("question | option | option ... (Ctrl-D ends)")
        for number, line in enumerate(sys.stdin, 1):
            if line.strip():
                try:
                    print(text_of(asking.records([parse(line, f"line {number}")])[0]), file=answers, flush=True)
                except UserError as e:
                    console.error(str(e))
