"""`moral-jax COMMAND ...`, and `python train.py ...`."""

import argparse
import difflib
import importlib
import sys
from typing import NamedTuple, NoReturn

import moral_jax
from moral_jax.cli.errors import guarded
from moral_jax.cli.legacy import translate
from moral_jax.runtime import secrets, terminal


class Command(NamedTuple):
    """The module of a command, and its line in --help."""

    module: str
    help: str


COMMANDS = {
    "train": Command("train", "score a model on votes, fine-tune it, score it again, write a report"),
    "eval": Command(
        "evaluate", "score a respondent on rows with votes: a model, a run, an API, a baseline, a scripted rule"
    ),
    "ask": Command(
        "ask", "questions with options in, a distribution for each out; or a whole questionnaire and its page"
    ),
    "tally": Command("tally", "count the answers to a questionnaire again, or those that another program wrote"),
    "elicit": Command(
        "elicit", "pairs of outcomes in, utilities out: what somebody values, and whether it hangs together"
    ),
    "judge": Command("judge", "replies in, what judges say of them out: refusals, sentiment, rubrics, reward models"),
    "score": Command("score", "texts in, a number for each out: a reward, or a log-probability"),
    "graph": Command("graph", "votes on which of two values is wiser in, a ranking of the values and its page out"),
    "decide": Command("decide", "a case in, the choice that its prescripts lead to and the trace of why out"),
    "probe": Command("probe", "rows in, what each layer of a model holds about them and its page out"),
    "simulate": Command(
        "simulate", "people whose values drift in, how near an examinee that learns from them stays out"
    ),
    "generate": Command("generate", "prompts in, replies out"),
    "search": Command("search", "values in, prompts whose completions violate them out, beside random prompts"),
    "instruct": Command("instruct", "values and prompts in, a trained writer of value instructions out"),
    "data": Command("data", "show a data set before any run: rows, votes, groups, duplicates, whole prompts"),
    "development": Command("development", "scenarios in, records of a cycle and stages out; records in, rows out"),
    "study": Command("study", "run many cells, on one machine or many, and make one page"),
    "sweep": Command("sweep", "search config fields, ranked by validation rows"),
    "report": Command("report", "write a run's page again from its files"),
    "card": Command("card", "fill the card of a run, answers, a study or a data set, every number from its results"),
    "licences": Command("licences", "list the licences of a run's data and model, and what they ask before publishing"),
    "fairness": Command("fairness", "compare groups in a table, no metric without its statement, conflicts named"),
    "export": Command("export", "write a run's weights as a folder that transformers loads"),
    "plan": Command("plan", "compile a config for a TPU slice that is not here: memory, FLOPs, exchanges, does it fit"),
    "doctor": Command("doctor", "check this machine and a config on it, and say what to do"),
}


class _Parser(argparse.ArgumentParser):
    """Says no secret: argparse repeats a value that it cannot read."""

    def error(self, message: str) -> NoReturn:
        super().error(secrets.redacted(message))


def _divided(parser: argparse.ArgumentParser, arguments: list[str]) -> tuple[list[str], list[str]]:
    """Returns the arguments that a parser knows, and the flags that it does not: the settings, --config.SECTION.FIELD.

    It must not see them: what it does not know and holds a blank, as questions do, it takes for a file.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    known, flags = parser._option_string_actions, arguments[:end]
    unknown = [flag for flag in flags if flag.startswith("--") and flag.partition("=")[0] not in known]
    return [flag for flag in flags if flag not in unknown] + arguments[end:], unknown


def _run(name: str, program: str, arguments: list[str]) -> int:
    terminal.outlive()
    module = importlib.import_module(f"moral_jax.cli.{COMMANDS[name].module}")
    parser = _Parser(
        prog=program,
        description=module.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    known, unknown = _divided(parser, arguments)
    args, rest = parser.parse_known_args(known)
    return guarded(lambda: module.run(args, [*unknown, *rest]))


def train_main(arguments: list[str]) -> int:
    """Runs `python train.py`; returns its exit code."""
    return _run("train", "train.py", arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs `moral-jax`; returns its exit code."""
    arguments = translate(sys.argv[1:] if arguments is None else arguments)
    width = max(map(len, COMMANDS))
    parser = _Parser(
        prog="moral-jax",
        usage="moral-jax [--version] COMMAND ...",
        description=moral_jax.__doc__,
        epilog="commands:\n"
        + "\n".join(f"  {name:<{width}}  {c.help}" for name, c in COMMANDS.items())
        + "\n\nmoral-jax COMMAND --help says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"moral-jax {moral_jax.__version__}")
    parser.add_argument("command", metavar="COMMAND", help=argparse.SUPPRESS)
    name = parser.parse_args(arguments[:1]).command
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        parser.error(f"{name}: no such command; {hint}")
    return _run(name, f"moral-jax {name}", arguments[1:])
