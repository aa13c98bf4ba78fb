"""What looks at machines: `moral-jax plan | doctor`."""

import argparse
import json
from pathlib import Path

from moral_jax.cli.shared import Commands
from moral_jax.config import parsing
from moral_jax.runtime import console
from moral_jax.types import UserError


def _plan(args: argparse.Namespace, rest: list[str]) -> None:
    config = parsing.from_flags(parsing.flags(args.config, rest))
    from moral_jax.plan import compile as plans
    from moral_jax.plan import run as plan

    where, spec = plans.topology(args.topology, config.mesh.slices), plan.read_spec(config.model.path)
    if args.memory:
        from moral_jax import sharding
        from moral_jax.plan import memory

        print(memory.table(config, spec, sharding.make_mesh(config.mesh, where.devices)))
        return
    if not args.search:
        made = [plans.make(config, spec, where, scoring=True)]
        print(plan.describe(made[0]))
    else:
        console.say(plan.HEADER)
        made = plan.search(config, spec, where)
        if not made:
            raise UserError(f"nothing fits on {args.topology}: try more chips, or --config.model.param_dtype=bfloat16")
        best = plan.front(made)
        print("\nnothing is both faster and smaller than these, fastest first:\n" + plan.table(best))
        print(f"\n{plan.paste(best[0])}")
    if args.json:
        plan.save(made, args.json)


def add_plan(commands: Commands) -> None:
    """`moral-jax plan`."""
    parser = commands.add_parser(
        "plan",
        help="compile a config for a TPU slice that is not here: memory, FLOPs, exchanges, and whether it fits",
        description="Needs the TPU compiler: pip install 'moral-jax[plan]'. Takes about a minute, a search many.",
    )
    parser.add_argument("--config", metavar="FILE", required=True, help="(--config.SECTION.FIELD=VALUE works)")
    parser.add_argument("--topology", required=True, help="v5e:4x4, v5p:2x2x1, v6e:2x4, v4:2x2x2, ...")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--search", action="store_true", help="try meshes, remat policies and micro-batches")
    which.add_argument(
        "--memory",
        action="store_true",
        help="what all weights, adapters, and adapters on quantised weights hold from step to step; compiles nothing",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers as JSON lines too")
    parser.set_defaults(command=_plan)


def _doctor(args: argparse.Namespace, rest: list[str]) -> int:
    from moral_jax.doctor import examine

    checks = examine.examine(parsing.flags(args.config, rest), args.workdir, args.coordinator)
    print(json.dumps([c._asdict() for c in checks], indent=2) if args.json else examine.table(checks))
    return int(any(c.state == examine.FAIL for c in checks))


def add_doctor(commands: Commands) -> None:
    """`moral-jax doctor`."""
    parser = commands.add_parser("doctor", help="check this machine and a config on it, and say what to do")
    parser.add_argument("--config", metavar="FILE", help="also check this config (--config.SECTION.FIELD=VALUE works)")
    parser.add_argument("--workdir", metavar="DIR", type=Path, default=Path("runs"), help="where runs will go")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="check the address at which several processes meet")
    parser.add_argument("--json", action="store_true", help="one JSON list")
    parser.set_defaults(command=_doctor)
