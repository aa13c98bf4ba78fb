"""`moral-jax doctor`."""

import argparse
import json
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.config import parsing

DESCRIPTION = "Checks this machine, and a config on it, and says what to do. Exit code 1: something must be mended."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the checks."""
    shared.add_config(parser, required=False, help="also check this config")
    parser.add_argument("--workdir", metavar="DIR", type=Path, default=Path("runs"), help="where runs will go")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="check the address at which several processes meet")
    parser.add_argument("--json", action="store_true", help="one JSON list")


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Checks."""
    from moral_jax.doctor import examine

    checks = examine.examine(parsing.flags(args.config, rest), args.workdir, args.coordinator)
    print(json.dumps([c._asdict() for c in checks], indent=2) if args.json else examine.table(checks))
    return int(any(c.state == examine.FAIL for c in checks))
