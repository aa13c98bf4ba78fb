"""Flags that several commands have, and what they print at the end."""

import argparse
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from moral_jax.config import Config, parsing
from moral_jax.config.respondent import OF_AN_API, model_flags
from moral_jax.respondents.api.cost import Budget
from moral_jax.runtime import terminal
from moral_jax.types import UserError

if TYPE_CHECKING:
    from moral_jax.workflows.asking import Who

RUN = "run:"
NEEDED = {"baseline": "sklearn", "api": "httpx2"}  # packages of the extra "study", by kind of respondent
NAMED = re.compile(r"([\w.+-]+)=(.+)")  # NAME=WHO


def add_config(parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, required: bool, help: str) -> None:
    """Adds --config; the fields --config.SECTION.FIELD=VALUE come with it."""
    parser.add_argument(
        "--config",
        metavar="FILE[:PRESET]",
        required=required,
        help=f"{help}; a file, or the name of a shipped one such as demo (--config.SECTION.FIELD=VALUE works)",
    )


def add_model(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Adds the flags that say who answers.

    Args:
      several: true if they may come more than once; `each_who_answers` reads them then.
    """
    which = parser if several else parser.add_mutually_exclusive_group()
    action = "append" if several else "store"
    again = "; may come several times, also as NAME=WHO" if several else ""
    which.add_argument(
        "--model",
        metavar="WHO",
        action=action,
        help="a folder, .gguf, package:NAME/FILE or OWNER/MODEL; run:DIR (a run: its weights, prompt and task); "
        f"api:NAME; baseline:NAME; scripted:NAME, such as uniform, first, last, longest{again}",
    )
    which.add_argument("--run", metavar="DIR", action=action, help="the same as --model=run:DIR")
    add_config(parser, required=False, help="task and prompt, unless a run brings its own")
    api = parser.add_argument_group("with --model=api:NAME, an OpenAI-compatible API that lists log-probabilities")
    api.add_argument("--api-model", metavar="NAME", help="the same as --model=api:NAME")
    api.add_argument("--base-url", metavar="URL", help="(default: https://api.openai.com/v1)")
    api.add_argument("--endpoint", metavar="KIND", help="chat or completions (default: chat)")
    api.add_argument(
        "--api-key-env", metavar="NAME", help="environment variable with the key (default: OPENAI_API_KEY)"
    )
    api.add_argument("--top-logprobs", metavar="N", help="likeliest tokens to list (default: 20)")
    api.add_argument("--concurrency", metavar="N", help="requests at a time (default: 8)")
    api.add_argument("--timeout", metavar="S", help="seconds a request (default: 60)")
    api.add_argument("--retries", metavar="N", help="of a failed request (default: 6)")
    api.add_argument("--price-in", metavar="P", type=float, help="of a million prompt tokens")
    api.add_argument("--price-out", metavar="P", type=float, help="of a million reply tokens")
    api.add_argument("--max-cost", metavar="P", type=float, help="go on if the estimate is no higher")
    api.add_argument("--yes", action="store_true", help="go on whatever the estimate is")


def add_resamples(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds --resamples."""
    parser.add_argument("--resamples", metavar="N", type=int, default=1000, help="of the bootstrap (default: 1000)")


def add_documents(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that declare licences."""
    parser.add_argument("--data", type=Path, metavar="FILE", help="a data.toml that speaks for the rows")
    parser.add_argument(
        "--base-licence", metavar="EXPR", help="SPDX expression of the model's licence (default: what its files state)"
    )


def only_given(args: argparse.Namespace, why: str, *unread: str) -> None:
    """Raises UserError if a flag is given that is not read here."""
    for name in unread:
        if getattr(args, name):
            raise UserError(f"--{name.replace('_', '-')}: is not read, as {why}; leave it out")


def budget(args: argparse.Namespace) -> Budget:
    """Returns what an API may cost."""
    return Budget(args.price_in, args.price_out, args.max_cost, args.yes).checked()


def who_answers(args: argparse.Namespace, rest: list[str]) -> tuple[Config, Path | None]:
    """Returns the config that the flags of `add_model` ask for, and the run whose weights answer, if one is named.

    Raises:
      UserError: nobody is named, or a run is named beside settings that it brings itself.
    """
    model = f"{RUN}{args.run}" if args.run else args.model
    of_api = [f"--{field.replace('_', '-')}" for field in OF_AN_API if getattr(args, field) is not None]
    if model is not None and args.api_model is not None:
        raise UserError(f"--api-model={args.api_model}: --model={model} names somebody already; pass one of them")
    if model is not None and model.startswith(RUN):
        if args.config or rest or of_api:
            setting = args.config or [*rest, *of_api][0]
            raise UserError(f"{setting}: a run brings its own config; only --model=PATH takes one")
        from moral_jax.runs.directory import read_config

        run = Path(model.removeprefix(RUN))
        return read_config(run), run
    if args.api_model is not None:
        model = f"api:{args.api_model}"
    if model is None and args.config is None:
        raise UserError(
            "nobody is named to answer: pass --model=PATH, run:DIR, api:NAME, baseline:NAME or scripted:NAME"
        )
    fields = model_flags(model) if model is not None else []
    for field in OF_AN_API:
        if (value := getattr(args, field)) is not None:
            fields.append(f"--config.respondent.{field}={value}")
    return parsing.from_flags([*parsing.flags(args.config, rest), *fields], file_needed=False), None


def each_who_answers(args: argparse.Namespace, rest: list[str]) -> list[tuple[str, Config, Path | None]]:
    """Returns name, config and run of each respondent that the flags of `add_model` name.

    Raises:
      UserError: as of `who_answers`, or two have one name.
    """
    named = [*(args.model or []), *(f"{RUN}{run}" for run in args.run or [])]
    out = []
    for said in named or [None]:
        match = NAMED.fullmatch(said or "")
        name, model = (match[1], match[2]) if match and not Path(said).exists() else (None, said)
        config, run = who_answers(argparse.Namespace(**vars(args) | {"model": model, "run": None}), rest)
        out.append((name or _name_of(config, run), config, run))
    names = [name for name, *_ in out]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two respondents are called {twice!r}; name them: --model=NAME={named[names.index(twice)]}")
    return out


def check_extras(config: Config) -> None:
    """Raises a UserError if a package is missing that the respondent needs."""
    package = NEEDED.get(config.respondent.kind)
    if package:
        check_package(package, "study")


def check_package(package: str, extra: str) -> None:
    """Raises a UserError if a package of an extra is missing."""
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{package} is not installed: pip install 'moral-jax[{extra}]'")


def is_asked(args: argparse.Namespace) -> bool:
    """Returns true if the flags of `add_model` name anybody."""
    return bool(args.model or args.run or args.api_model or args.config)


def respondents(args: argparse.Namespace, rest: list[str]) -> "list[Who]":
    """Returns each respondent that the flags of `add_model` name, whose packages are there; raises as
    `each_who_answers`."""
    from moral_jax.workflows.asking import Who  # JAX, which mistakes in other flags need not wait for

    found = [Who(*who) for who in each_who_answers(args, rest)]
    for who in found:
        check_extras(who.config)
    return found


def first_config(args: argparse.Namespace, rest: list[str]) -> Config:
    """Returns the config of the first respondent that is named, to show its prompts; the default one if nobody is."""
    return each_who_answers(args, rest)[0][1] if args.model or args.run else Config()


def check_counts(args: argparse.Namespace, *names: str) -> None:
    """Raises UserError for a flag that is given and below 1."""
    for name in names:
        if (value := getattr(args, name)) is not None and value < 1:
            raise UserError(f"--{name}={value}: expected at least 1")


def _name_of(config: Config, run: Path | None) -> str:
    """Returns how a respondent is called where nobody has named it."""
    if run:
        return run.resolve().name
    if config.respondent.kind == "local":
        return Path(config.model.path).name.removesuffix(".gguf")
    return f"{config.respondent.kind}:{config.respondent.name}"


def no_more(rest: list[str]) -> None:
    """Refuses arguments that a command does not know."""
    if rest:
        raise UserError(f"{rest[0]}: unknown argument")


def show(written) -> None:
    """Prints what a run came to."""
    print(terminal.printable(f"\n{written.table}\n\n{written.verdict}\n\nreport: {written.html}"))
