"""`moral-jax export`."""

import argparse
import importlib.util
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.runtime import preemption

DESCRIPTION = """\
Writes a run's weights as a folder that transformers loads, or its adapters as PEFT's files, and the run's card beside
them as README.md. The card says what licences ask; moral-jax licences RUN --publish checks them.

  moral-jax export runs/mine exported
  moral-jax export runs/mine exported --charter=charter.toml --base-licence=Apache-2.0
"""


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
    parser.add_argument("--charter", type=Path, metavar="FILE", help="clauses for the card")
    shared.add_documents(parser)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Exports."""
    shared.no_more(rest)
    from moral_jax.workflows import export

    card = _card(args)
    with preemption.listening():
        if args.format == "peft":
            print(export.write_adapter(args.run, args.out, args.dtype, card))
        else:
            print(export.write(args.run, args.out, args.shard_mb, args.dtype, card))
    if card is None:
        print("No card: nothing was scored, or license-expression is not installed (moral-jax[documents])")


def _card(args: argparse.Namespace) -> str | None:
    """Returns the card of the run, before any weight is read; None where there is none."""
    if importlib.util.find_spec("license_expression") is None:
        shared.only_given(args, "license-expression is not installed", "charter", "data", "base_licence")
        return None
    from moral_jax.workflows import card

    return card.beside_weights(args.run, args.charter, args.data, args.base_licence)
