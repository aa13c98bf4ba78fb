"""`moral-jax study`."""

import argparse
import fnmatch
import signal
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.config import parsing
from moral_jax.study.spec import Study
from moral_jax.types import UserError

BROKEN = 1  # exit code: some cells failed
DESCRIPTION = """\
Runs the cells of a study, each as a process of its own, and writes one page of those that are done.

  moral-jax study --config=configs/studies/smollm2.py --config.task.path=dev.scruples-dilemmas.jsonl
  moral-jax study --config=configs/studies/ethical_ambiguity.py:gpu-80gb --shard=2/4
  moral-jax study --config=configs/studies/ethical_ambiguity.py --page-only

A cell that is done is skipped, one that failed is tried again, one that another worker runs is left to it. On machines
with a shared disk start the same command as often as you like; without one, give each its --shard, copy their cells/
into one study directory, and write the page with --page-only. Exit code 1: some cells failed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a study."""
    add_common(parser)
    parser.add_argument("--cells", metavar="GLOB", default="*", help="only cells whose name matches, e.g. 'smollm2*'")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="say how far each cell is; run nothing")
    how.add_argument("--dry-run", action="store_true", help="print the commands of the cells that are not done")
    how.add_argument("--page-only", action="store_true", help="write the page of what is there; run nothing")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that a study and a sweep share."""
    shared.add_config(parser, required=True, help="what to run")
    parser.add_argument("--workdir", metavar="DIR", type=Path, help="default: runs/NAME")
    parser.add_argument("--shard", metavar="I/N", default="1/1", help="only the I-th of N parts of the cells, from 1")


def workdir(args: argparse.Namespace, kind: str) -> Path:
    """Returns the directory of a study or a sweep."""
    return args.workdir or Path("runs") / f"{kind}-{parsing.run_name(args.config)}"


def run_jobs(todo: list) -> tuple[int, str]:
    """Runs jobs; returns an exit code and what became of them."""
    from moral_jax.study import jobs, runner

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop ends the running cell too
    outcomes = runner.run(todo)
    return (BROKEN if any(o.state in (jobs.FAILED, jobs.STALE) for o in outcomes) else 0), runner.summary(outcomes)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Runs the cells and writes the page."""
    from moral_jax.study import jobs, runner

    study = parsing.from_file(args.config, "get_study")
    if not isinstance(study, Study):
        raise UserError(f"--config={args.config}: get_study() gave {type(study).__name__}, expected a Study")
    folder = workdir(args, "study")
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
    code, said = (0, "") if args.page_only else run_jobs(mine)
    from moral_jax.report.study import page
    from moral_jax.study import collect

    numbers = collect.study(study.title, everything, study.resamples, study.measures, study.contrasts)
    written = page.write(folder, numbers)
    print("\n\n".join(["", written.text, *([said] if said else []), f"page: {written.html}"]))
    return code
