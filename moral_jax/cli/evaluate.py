"""What asks a model for its answers: `moral-jax eval | score`."""

import argparse
import sys
from pathlib import Path

from moral_jax.cli.shared import Commands
from moral_jax.config import parsing
from moral_jax.runtime import console
from moral_jax.types import UserError


def _add_model(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", metavar="DIR", type=Path, help="a finished run: its weights, prompt and task")
    which.add_argument(
        "--model", metavar="PATH", help="an untrained model: folder, .gguf, package:NAME/FILE or OWNER/MODEL"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="with --model: task and prompt (--config.SECTION.FIELD=VALUE works)"
    )


def _load(args: argparse.Namespace, rest: list[str]):
    from moral_jax.workflows import train

    train.set_up_jax()
    if args.run:
        if args.config or rest:
            raise UserError(f"{(args.config or rest[0])}: a run brings its own config; only --model takes one")
        return train.load_run(args.run)
    config = parsing.from_flags(
        [*parsing.flags(args.config, rest), f"--config.model.path={args.model}"], file_needed=False
    )
    return train.load_untrained(config)


def _eval(args: argparse.Namespace, rest: list[str]) -> None:
    trained = _load(args, rest)
    from moral_jax.workflows import train

    written = train.evaluate(trained, args.path, args.out)
    print(f"\n{written.table}\n\n{written.verdict}\n\nreport: {written.html}")


def add_eval(commands: Commands) -> None:
    """`moral-jax eval`."""
    parser = commands.add_parser(
        "eval", help="score a file of rows with votes, and write records, metrics.json and the page"
    )
    _add_model(parser)
    parser.add_argument("--path", required=True, help="rows in the task's format, .jsonl or .jsonl.gz")
    parser.add_argument("--out", required=True, type=Path, help="a new directory")
    parser.set_defaults(command=_eval)


def _score(args: argparse.Namespace, rest: list[str]) -> None:
    from moral_jax.cli import questions

    show = questions.as_json if args.json else questions.as_text
    live = args.file == "-" and sys.stdin.isatty()
    if not live:  # reads everything before it loads anything, so that a bad line costs nothing
        stream = sys.stdin.buffer if args.file == "-" else questions.open_input(args.file)
        examples = list(questions.read(stream, args.file))
    trained = _load(args, rest)
    from moral_jax.workflows import train

    answer = train.answerer(trained)
    if not live:
        print("\n".join(map(show, answer(examples))))
        return
    print("question | option | option ... (Ctrl-D ends)", file=sys.stderr)
    for number, line in enumerate(sys.stdin, 1):
        if line.strip():
            try:
                print(show(answer([questions.parse(line, f"line {number}")])[0]), flush=True)
            except UserError as e:
                console.refuse(str(e))


def add_score(commands: Commands) -> None:
    """`moral-jax score`."""
    parser = commands.add_parser(
        "score",
        help="ask: questions with options in, a distribution for each out",
        description="One question a line: 'question | option | option', or JSON with question, options and maybe text.",
    )
    _add_model(parser)
    parser.add_argument("file", nargs="?", default="-", help="a file; default: standard input")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(command=_score)
