"""`moral-jax study` and `moral-jax sweep`. Imports what they need only once they are asked for: it takes a second."""

import argparse
import fnmatch
import signal
from pathlib import Path

from moral_jax.config import parsing
from moral_jax.study.spec import Study
from moral_jax.types import UserError

BROKEN = 1  # exit code: some cells failed
STUDY_HELP = """\
Runs the cells of a study, each as a process of its own, and writes one page of those that are done.

  moral-jax study --config=configs/studies/smollm2.py --config.task.path=dev.scruples-dilemmas.jsonl
  moral-jax study --config=configs/studies/ethical_ambiguity.py:gpu-80gb --shard=2/4
  moral-jax study --config=configs/studies/ethical_ambiguity.py --page-only

A cell that is done is skipped, one that failed is tried again, one that another worker runs is left to it. On machines
with a shared disk start the same command as often as you like; without one, give each its --shard, copy their cells/
into one study directory, and write the page with --page-only. Exit code 1: some cells failed.
"""
SWEEP_HELP = """\
Trains at every point of a grid, or at random points, and ranks them by validation rows; test rows are not scored.

  moral-jax sweep --config=configs/demo.py --grid optim.lr=1e-5,3e-5,1e-4 --grid train.epochs=1,2
  moral-jax sweep --config=configs/demo.py --random=20 --range optim.lr=1e-6,1e-3 --grid prompt.family=clean,plain

The same command goes on where it stopped; more points are added to those that are there.
"""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds both to the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "study", help="run many cells, on one machine or many, and make one page", description=STUDY_HELP,
        formatter_class=raw,
    )  # fmt: skip
    _common(parser)
    parser.add_argument("--cells", metavar="GLOB", default="*", help="only cells whose name matches, e.g. 'smollm2*'")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="say how far each cell is; run nothing")
    how.add_argument("--dry-run", action="store_true", help="print the commands of the cells that are not done")
    how.add_argument("--page-only", action="store_true", help="write the page of what is there; run nothing")
    parser.set_defaults(command=_study)

    parser = commands.add_parser(
        "sweep", help="search config fields, ranked by validation rows", description=SWEEP_HELP, formatter_class=raw
    )
    _common(parser)
    parser.add_argument("--grid", metavar="FIELD=V,V", action="append", default=[], help="values of a config field")
    parser.add_argument("--range", metavar="FIELD=LOW,HIGH", action="append", default=[], help="with --random")
    parser.add_argument("--random", metavar="N", type=int, help="so many random points instead of the whole grid")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="of --random")
    parser.add_argument(
        "--by",
        choices=("cross_entropy", "dirichlet_nll"),
        help="validation metric that ranks (default: the objective's)",
    )
    parser.set_defaults(command=_sweep)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE[:PRESET]", required=True, help="(--config.SECTION.FIELD=VALUE works)")
    parser.add_argument("--workdir", metavar="DIR", type=Path, help="default: runs/NAME")
    parser.add_argument("--shard", metavar="I/N", default="1/1", help="only the I-th of N parts of the cells, from 1")


def _workdir(args: argparse.Namespace, kind: str) -> Path:
    return args.workdir or Path("runs") / f"{kind}-{parsing.run_name(args.config)}"


def _run(todo: list) -> tuple[int, str]:
    """Runs jobs; exit code and what became of them."""
    from moral_jax.study import jobs, runner

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop ends the running cell too
    outcomes = runner.run(todo)
    return (BROKEN if any(o.state == jobs.FAILED for o in outcomes) else 0), runner.summary(outcomes)


def _study(args: argparse.Namespace, rest: list[str]) -> int:
    from moral_jax.study import jobs, runner

    study = parsing.from_file(args.config, "get_study")
    if not isinstance(study, Study):
        raise UserError(f"--config={args.config}: get_study() gave {type(study).__name__}, expected a Study")
    folder = _workdir(args, "study")
    everything = jobs.prepare(study, folder, rest)
    part = jobs.shard(everything, *jobs.parse_shard(args.shard))
    mine = [job for job in part if fnmatch.fnmatch(job.cell.name, args.cells)]
    if not mine:
        raise UserError(f"--cells={args.cells} --shard={args.shard}: no cell is left; --list names them")
    if args.list:
        print(runner.listing(mine))
        return 0
    if args.dry_run:
        print(runner.commands(mine))
        return 0
    code, said = (0, "") if args.page_only else _run(mine)
    from moral_jax.report.study import page
    from moral_jax.study import collect

    numbers = collect.study(study.title, everything, study.resamples)
    written = page.write(folder, numbers)
    print("\n\n".join(["", written.text, *([said] if said else []), f"page: {written.html}"]))
    return code


def _sweep(args: argparse.Namespace, rest: list[str]) -> int:
    from moral_jax.study import jobs, sweep

    axes = [sweep.parse_axis("--grid", text) for text in args.grid]
    ranges = [sweep.parse_axis("--range", text) for text in args.range]
    if not axes and not ranges:
        raise UserError("nothing to search: give --grid FIELD=VALUE,VALUE")
    if ranges and args.random is None:
        raise UserError("--range: needs --random=N; a grid has --grid FIELD=VALUE,VALUE")
    points = sweep.grid(axes) if args.random is None else sweep.draw(axes, ranges, args.random, args.seed)
    folder = _workdir(args, "sweep")
    everything = jobs.prepare(sweep.study(parsing.run_name(args.config), args.config, points), folder, rest)
    sweep.check(everything, [*axes, *ranges], rest)
    by = sweep.judge(everything, args.by)
    code, said = _run(jobs.shard(everything, *jobs.parse_shard(args.shard)))
    table = sweep.write(folder, sweep.rank(everything, by), by, len(everything))
    print(f"\n{table}\n\n{said}\n\ntable: {folder / 'sweep.md'}")
    return code
