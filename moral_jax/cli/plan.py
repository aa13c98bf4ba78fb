"""`moral-jax plan`."""

import argparse
from pathlib import Path

from moral_jax.cli import shared
from moral_jax.config import parsing
from moral_jax.runtime import console
from moral_jax.types import UserError

DESCRIPTION = """\
Compiles a config for a machine that is not here, and prints memory, FLOPs, exchanges, and whether it fits.

  moral-jax plan --config=scruples/mistral_7b_dilemmas:v5e-16 --topology=v5e:4x4
  moral-jax plan --config=scruples/mistral_7b_dilemmas:gpu-80gb --topology=h100:1
  moral-jax plan --config=preferences/dpo:gpu-80gb-8 --config.model.path=OWNER/MODEL --topology=h100:8
  moral-jax plan --config=rl/grpo --config.model.path=OWNER/MODEL --topology=v5e:2x4 --sample

Needs the machine's compiler, not the machine: pip install 'moral-jax[plan]' for TPUs, 'moral-jax[plan-gpu]' for GPUs.
Takes about a minute, a search many.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of planning."""
    shared.add_config(parser, required=True, help="what to plan")
    parser.add_argument(
        "--topology",
        required=True,
        help="TPU slices v5e:4x4, v5p:2x2x1, v6e:2x4, v4:2x2x2; GPUs h100:8, h200:8, a100:8, l4:1, 4090:1; h100:2x8 "
        "are two machines",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--search", action="store_true", help="try meshes, remat policies and micro-batches")
    which.add_argument(
        "--memory",
        action="store_true",
        help="what all weights, adapters, and adapters on quantised weights hold from step to step; compiles nothing",
    )
    which.add_argument(
        "--sample",
        action="store_true",
        help="how many replies can be written at a time, and the least time that a token takes",
    )
    sampling = parser.add_argument_group("with --sample")
    sampling.add_argument("--prompt-tokens", type=int, default=512, metavar="N", help="of every prompt")
    sampling.add_argument("--max-tokens", type=int, default=512, metavar="N", help="of every reply")
    parser.add_argument(
        "--json",
        metavar="FILE",
        type=Path,
        help="write all numbers as JSON lines too; a search goes on from them",
    )


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Plans."""
    config = parsing.from_flags(parsing.flags(args.config, rest))
    from moral_jax.plan import compile as plans
    from moral_jax.plan import machines
    from moral_jax.plan import run as plan

    where, spec = machines.topology(args.topology, config.mesh.slices), plan.read_spec(plan.files_of(config))
    if args.memory:
        from moral_jax import sharding
        from moral_jax.plan import memory

        print(memory.table(config, spec, sharding.make_mesh(config.mesh, where.devices)))
        return
    if args.sample:
        from moral_jax.plan import sample

        console.info(sample.HEADER)
        found = sample.plans(config, spec, where, args.prompt_tokens, args.max_tokens)
        rows = []
        for one in found:
            console.info(sample.row(one))
            rows.append(sample.summary(one))
        if args.json:
            plan.save(rows, args.json)
        return
    if not args.search:
        made = plans.make(config, spec, where, scoring=True)
        print(plan.describe(made))
        if args.json:
            plan.save([plan.numbers(made)], args.json)
        return
    from moral_jax.plan import search

    console.info(search.HEADER)
    fitting = search.search(config, spec, where, file=args.json)
    if not fitting:
        raise UserError(f"nothing fits on {args.topology}: try more chips, or --config.model.param_dtype=bfloat16")
    best = search.front(fitting)
    print("\nnothing is faster, with exchanges hidden or not, and smaller than these, fastest first:")
    print(search.table(best))
    print(f"\n{search.paste(best[0])}")
