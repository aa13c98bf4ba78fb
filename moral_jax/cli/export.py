"""What makes something of a finished run: `moral-jax report | export`."""

import argparse
from pathlib import Path

from moral_jax.cli.shared import Commands
from moral_jax.runtime import preemption
from moral_jax.types import UserError


def _report(args: argparse.Namespace, rest: list[str]) -> None:
    if rest:
        raise UserError(f"{rest[0]}: unknown argument")
    from moral_jax.report import page

    print(f"report: {page.write(args.run).html}")


def add_report(commands: Commands) -> None:
    """`moral-jax report`."""
    parser = commands.add_parser("report", help="write a run's page again from its files")
    parser.add_argument("run", type=Path, metavar="DIR")
    parser.set_defaults(command=_report)


def _export(args: argparse.Namespace, rest: list[str]) -> None:
    if rest:
        raise UserError(f"{rest[0]}: unknown argument")
    from moral_jax.workflows import export

    with preemption.listening():
        if args.format == "peft":
            print(export.write_adapter(args.run, args.out, args.dtype))
        else:
            print(export.write(args.run, args.out, args.shard_mb, args.dtype))


def add_export(commands: Commands) -> None:
    """`moral-jax export`."""
    parser = commands.add_parser("export", help="write a run's weights as a folder that transformers loads")
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
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: that of what the run trained")
    parser.set_defaults(command=_export)
