"""`moral-jax sweep`."""

import argparse

from moral_jax.cli.study import add_common, run_jobs, workdir
from moral_jax.config import Config, parsing
from moral_jax.tasks import registry
from moral_jax.types import UserError

DESCRIPTION = """\
Trains at every point of a grid, or at random points, and ranks them by validation rows; test rows are not scored.

  moral-jax sweep --config=configs/demo.py --grid optim.lr=1e-5,3e-5,1e-4 --grid train.epochs=1,2
  moral-jax sweep --config=configs/demo.py --random=20 --range optim.lr=1e-6,1e-3 --grid prompt.format=chat,plain

The same command goes on where it stopped; more points are added to those that are there.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a sweep."""
    add_common(parser)
    parser.add_argument("--grid", metavar="FIELD=V,V", action="append", default=[], help="values of a config field")
    parser.add_argument("--range", metavar="FIELD=LOW,HIGH", action="append", default=[], help="with --random")
    parser.add_argument("--random", metavar="N", type=int, help="so many random points instead of the whole grid")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of --random")
    parser.add_argument(
        "--by",
        choices=("cross_entropy", "dirichlet_nll", "nll_per_token", "likelihood_accuracy", "reward_accuracy", "reward"),
        help="validation metric that ranks (default: the objective's; of texts the NLL per token, of preferences the "
        "accuracy of rewards, or of likelihoods where there is no reference; of replies their reward)",
    )


def _judged_by(config: Config) -> str:
    """Returns the metric that ranks runs of a config."""
    from moral_jax import objectives
    from moral_jax.respondents.base import is_weighed
    from moral_jax.study.sweep import REWARD

    if registry.get(config.task.name).kind == "prompts":
        return REWARD
    objective = objectives.get(config.objective.name)
    if not is_weighed(config):
        return objective.judged_by
    if registry.get(config.task.name).kind == "texts":
        return "nll_per_token"
    return "reward_accuracy" if objective.columns else "likelihood_accuracy"


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Searches."""
    from moral_jax.study import jobs, sweep

    axes = [sweep.parse_axis("--grid", text) for text in args.grid]
    ranges = [sweep.parse_axis("--range", text) for text in args.range]
    if not axes and not ranges:
        raise UserError("nothing to search: give --grid FIELD=VALUE,VALUE")
    if ranges and args.random is None:
        raise UserError("--range: needs --random=N; a grid has --grid FIELD=VALUE,VALUE")
    points = sweep.grid(axes) if args.random is None else sweep.draw(axes, ranges, args.random, args.seed)
    folder = workdir(args, "sweep")
    everything = jobs.prepare(sweep.study(parsing.run_name(args.config), args.config, points), folder, rest)
    sweep.check(everything, [*axes, *ranges], rest)
    by = sweep.judge(everything, args.by, _judged_by)
    code, said = run_jobs(jobs.shard(everything, *jobs.parse_shard(args.shard)))
    table = sweep.write(folder, sweep.rank(everything, by), by, len(everything))
    print(f"\n{table}\n\n{said}\n\ntable: {folder / 'sweep.md'}")
    return code
