"""`moral-jax export`."""

import argparse
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.runtime import preemption

DESCRIPTION = "Writes a run's weights as a folder that transformers loads, or its adapters as PEFT's files."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the export."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run")
    parser.add_argument("out", type=Path, metavar="OUT", help="a new directory")
    parser.add_argument(
        "--format",
        choices=("full", "peft"),
        default="full",
        help="of a run with adapters: merged into all weights (default), or the adapters alone as PEFT's files",
    )
    parser.add_argument(
        "--shard-mb", type=int, default=2048, metavar="N", help="largest weight file, MiB (default: 2048)"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: that of the trained weights")


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Exports."""
    shared.no_more(rest)
    from moral_jax.workflows import export

    with preemption.listening():
        if args.format == "peft":
            print(export.write_adapter(args.run, args.out, args.dtype))
        else:
            print(export.write(args.run, args.out, args.shard_mb, args.dtype))
