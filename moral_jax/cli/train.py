"""`moral-jax train` and `python train.py`."""

import argparse
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.config import parsing
from moral_jax.runtime import console, preemption, supervisor
from moral_jax.types import Preempted

DESCRIPTION = """\
Scores a language model on votes, fine-tunes it, scores it again, and writes a report.

  moral-jax train --config=demo
  moral-jax train --config=scruples/smollm2_dilemmas --config.task.path=dev.scruples-dilemmas.jsonl
  moral-jax train --config=demo --config.optim.lr=1e-5 --workdir=runs/slow
  moral-jax train --config=demo --config.train.steps=0        (only evaluates)

`python train.py` in a clone is the same command. A run directory that exists is resumed; one that holds another config
is refused, with the difference shown. SIGTERM ends a run after the current step, saved.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of training."""
    parser.usage = f"{parser.prog} --config=FILE [--workdir=DIR] [--config.SECTION.FIELD=VALUE ...]"
    parser.epilog = "fields and their defaults:\n" + parsing.explain()
    parser.add_argument(
        "--config", metavar="FILE[:PRESET]", help="a file of configs/, your own, or the name of a shipped one: demo"
    )
    parser.add_argument("--workdir", metavar="DIR", type=Path, help="where the run goes (default: runs/<config name>)")
    parser.add_argument(
        "--resume-from", metavar="STEP", type=int, help="go on from this older checkpoint, and drop what came after it"
    )
    several = parser.add_argument_group(
        "several processes",
        "they find each other on Cloud TPU and under Slurm; elsewhere start the same line in each, with",
    )
    several.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    several.add_argument("--processes", metavar="N", type=int, help="how many there are")
    several.add_argument("--process", metavar="I", type=int, help="which one this is, from 0")


def run(args: argparse.Namespace, rest: list[str]) -> int | None:
    """Trains."""
    config = parsing.from_flags(parsing.flags(args.config, rest))
    others = (args.coordinator, args.processes, args.process)
    several, preempted_code = supervisor.expects_others(*others), supervisor.preempted_code()
    if several:
        supervisor.fork_supervisor(args.coordinator or "the place that the cluster names")
    # jax takes seconds to import: --help and typing mistakes should not, and the fork must come first
    from moral_jax.runtime import distributed
    from moral_jax.workflows import train

    if several:
        distributed.start(*others)
    if not distributed.is_primary():
        console.mute()
    workdir = args.workdir or Path("runs") / parsing.run_name(args.config)
    try:
        with preemption.listening(), distributed.exit_together():
            written = train.train(config, workdir, args.resume_from)
    except Preempted as e:
        console.info(str(e))
        return preempted_code
    if written:
        shared.show(written)
    return None
