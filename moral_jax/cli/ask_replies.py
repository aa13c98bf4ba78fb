"""`moral-jax ask --task=FOLDER` where rows are prompts that are replied to."""

import argparse
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.runtime import terminal
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.types import UserError

SAMPLING = {"samples": int, "max_tokens": int, "temperature": float, "seed": int}
OWN = (*SAMPLING, "judge", "judge_model", "labels", "per_group", "human", "column", "keep_texts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of folders of prompts."""
    of = parser.add_argument_group("a folder of prompts, which are replied to (task.toml has [replies])")
    add_judges(of, "in place of the folder's judges (moral-jax judge --help lists all)")
    said = {"samples": "replies to each prompt", "max_tokens": "tokens of a reply at most",
            "temperature": "0: the likeliest token", "seed": "of the random numbers"}  # fmt: skip
    for name, kind in SAMPLING.items():
        flag = f"--{name.replace('_', '-')}"
        of.add_argument(flag, metavar="N", type=kind, help=f"{said[name]} (default: the folder's)")
    of.add_argument("--per-group", metavar="N", type=int, help="draw N rows of each group, the same ones every time")
    of.add_argument("--column", metavar="NAME", help="the column of --rows that holds the prompt (default: prompt)")
    of.add_argument(
        "--human", metavar="FILE", help="what people wrote, beside BOLD's nested --rows (BOLD's wikipedia/)"
    )
    of.add_argument("--keep-texts", action="store_true", help="keep texts in records, where rows ask for harm too")


def add_judges(of: argparse.ArgumentParser | argparse._ArgumentGroup, what: str) -> None:
    """Adds the flags that name judges."""
    of.add_argument(
        "--judge", metavar="NAME,...", action="append", default=[],
        help=f"{what}; may come several times",
    )  # fmt: skip
    of.add_argument(
        "--judge-model", metavar="WHO", default="", help="answers rubrics that name nobody, as --model has it"
    )
    of.add_argument(
        "--labels", metavar="[JUDGE=]FILE", action="append", default=[],
        help="replies with labels of people (text or reply, label, prompt), on which judges' agreement is computed",
    )  # fmt: skip


def refuse(args: argparse.Namespace) -> None:
    """Refuses the flags of prompts where questions are asked."""
    for name in OWN:
        if getattr(args, name) not in (None, "", [], False):
            raise UserError(f"--{name.replace('_', '-')}: is of a folder of prompts ([replies] in its task.toml)")


def run(args: argparse.Namespace, rest: list[str], chosen: dict[str, list[str]], task: Folder) -> None:
    """Asks a folder of prompts."""
    from moral_jax.workflows import replies

    shared.check_counts(args, "samples", "per_group")
    if args.map:
        raise UserError(f"--map={args.map}: is of questions with tags; these rows are prompts")
    if args.column and not args.rows:
        raise UserError(f"--column={args.column}: is of --rows=FILE; the folder's own rows have the field prompt")
    asked = replies.read(
        args.task, chosen, args.limit, args.rows, args.human, args.column, per_group=args.per_group,
        drops_bad=args.on_bad_row == "drop",
    )  # fmt: skip
    rows = len(asked.parts[0].examples)
    title = terminal.printable(asked.folder.title or asked.folder.name)
    print(f"{title}: {rows} prompts x {len(asked.parts)} conditions = {asked.size}")
    if args.dry_run:
        print("\n" + "\n\n".join(map(terminal.printable, replies.prompts_of(asked))))
        return
    sample = {name: value for name in SAMPLING if (value := getattr(args, name)) is not None}
    how = replies.How(args.judge, args.judge_model, args.labels, args.keep_texts, sample)
    respondents = shared.respondents(args, rest)
    out = args.out or Path("runs") / asked.folder.name
    shared.show(replies.ask(asked, respondents, out, how, args.resamples))
