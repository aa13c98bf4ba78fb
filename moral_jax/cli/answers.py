"""The commands that need no model of ours: `moral-jax baseline | api`. No jax."""

import argparse
import importlib.util
from pathlib import Path

from moral_jax.cli.shared import Commands
from moral_jax.config import parsing
from moral_jax.types import UserError


def _needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{package} is not installed: pip install 'moral-jax[study]'")


def _add_run(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        "--config", metavar="FILE[:PRESET]", required=True, help="task and prompt (--config.SECTION.FIELD=VALUE works)"
    )
    parser.add_argument(
        "--workdir", metavar="DIR", type=Path, help=f"where the run goes (default: runs/<config name>-{name})"
    )


def _workdir(args: argparse.Namespace, name: str) -> Path:
    return args.workdir or Path("runs") / f"{parsing.run_name(args.config)}-{name}"


def _baseline(args: argparse.Namespace, rest: list[str]) -> None:
    config = parsing.from_flags(parsing.flags(args.config, rest))
    _needs("sklearn")
    from moral_jax.respondents.api import service as run

    written = run.run(args.name, config, _workdir(args, args.name))
    print(f"\n{written.table}\n\n{written.verdict}\n\nreport: {written.html}")


def add_baseline(commands: Commands) -> None:
    """`moral-jax baseline`."""
    add = commands.add_parser(
        "baseline",
        help="what priors, rules on length and counted words score, as a run directory like any other",
        description="prior, stratified; for options with words of their own fewest_words, most_words, "
        "fewest_characters, most_characters, logistic_ranker, style_ranker; for options that are the same in all rows "
        "logistic.",
    )
    add.add_argument("name", metavar="NAME", help="which baseline")
    _add_run(add, "NAME")
    add.set_defaults(command=_baseline)


def _api(args: argparse.Namespace, rest: list[str]) -> None:
    config = parsing.from_flags(parsing.flags(args.config, rest))
    _needs("httpx2")
    from moral_jax.respondents.api import cost
    from moral_jax.respondents.api import service as run

    service = run.Service(
        base_url=args.base_url,
        model=args.api_model,
        endpoint=args.endpoint,
        top=args.top_logprobs,
        key_variable=args.api_key_env,
        concurrency=args.concurrency,
        timeout=args.timeout,
        retries=args.retries,
    )
    budget = cost.Budget(args.price_in, args.price_out, args.max_cost, args.yes).checked()
    written = run.run(service, budget, config, _workdir(args, args.api_model.replace("/", "-")))
    print(f"\n{written.table}\n\n{written.verdict}\n\nreport: {written.html}")


def add_api(commands: Commands) -> None:
    """`moral-jax api`."""
    add = commands.add_parser(
        "api",
        help="score a model behind an OpenAI-compatible API that gives log-probabilities",
        description="Asks for one token with the likeliest ones listed, and writes a run directory like any other. "
        "Prints what it will cost before anything is sent. Replies are kept: the same command again is free, and goes "
        "on where it was stopped.",
    )
    _add_run(add, "API-MODEL")
    add.add_argument("--api-model", metavar="NAME", required=True, help="as the API calls it: gpt-4o, ...")
    add.add_argument("--base-url", metavar="URL", default="https://api.openai.com/v1", help="(default: %(default)s)")
    add.add_argument("--endpoint", choices=("chat", "completions"), default="chat", help="(default: %(default)s)")
    add.add_argument(
        "--api-key-env", metavar="NAME", help="environment variable with the key (default: OPENAI_API_KEY, if set)"
    )
    add.add_argument(
        "--top-logprobs", metavar="N", type=int, default=20, help="likeliest tokens to list (default: %(default)s)"
    )
    add.add_argument(
        "--concurrency", metavar="N", type=int, default=8, help="requests at a time (default: %(default)s)"
    )
    add.add_argument("--timeout", metavar="S", type=float, default=60, help="seconds a request (default: %(default)s)")
    add.add_argument("--retries", metavar="N", type=int, default=6, help="of a failed request (default: %(default)s)")
    add.add_argument("--price-in", metavar="P", type=float, help="of a million prompt tokens")
    add.add_argument("--price-out", metavar="P", type=float, help="of a million reply tokens")
    add.add_argument("--max-cost", metavar="P", type=float, help="go on if the estimate is no higher")
    add.add_argument("--yes", action="store_true", help="go on whatever the estimate is")
    add.set_defaults(command=_api)
