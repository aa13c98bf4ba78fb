"""`moral-jax simulate`."""

import argparse
import dataclasses
from pathlib import Path

from moral_jax.analysis.drift import PATHS
from moral_jax.analysis.progress import ALGORITHMS, CHALLENGES, STATIC
from moral_jax.cli import shared
from moral_jax.config import Config, parsing
from moral_jax.config.respondent import model_flags
from moral_jax.types import UserError

DESCRIPTION = f"""\
Simulates moral progress: people's values drift from century to century, and an examinee learns from them step by step.

  moral-jax simulate                                              without weights, in seconds: one command to a page
  moral-jax simulate --model=OWNER/MODEL --algorithm=lifelong,extrapolative --challenge=follow,predict
  moral-jax simulate --challenge=coevolve --drift=reversing --steps=8
  moral-jax simulate --century=scripted:leaning?file=then.json --century=OWNER/MODEL --century=run:runs/now
  moral-jax simulate --algorithm=mine.py:cautious --objective=dpo --model=OWNER/MODEL

Challenges: {"; ".join(f"{name} ({c.description})" for name, c in CHALLENGES.items())}.
Algorithms: static learns the first century and no more, repeat the first century at every step, lifelong what it
hears, extrapolative what comes next if things go on; a function of yours maps (heard, order, ahead) to what is taught,
heard being a list of row -> numbers. Numbers are distances above static, which is always run. A killed simulation goes
on with the same command. Formulas: docs/progress.md.
"""
CONFIG, USUAL_SEED, USUAL_PACE = "progress", 42, 0.5
SCRIPTED = ("scripted:", "agent:")
OF_A_RUN = ("--config.model.", "--config.adapter.", "--config.prompt.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a simulation."""
    parser.add_argument("--workdir", metavar="DIR", type=Path, help="where everything goes (default: runs/progress)")
    parser.add_argument(
        "--challenge", metavar="NAME,...", default="follow,predict",
        help=f"of {', '.join(CHALLENGES)} (default: follow,predict, which share their runs)",
    )  # fmt: skip
    parser.add_argument(
        "--algorithm", metavar="NAME,...", default="lifelong,extrapolative",
        help=f"of {', '.join(ALGORITHMS)}, FILE.py:FUNCTION (default: lifelong,extrapolative)",
    )  # fmt: skip
    parser.add_argument("--order", metavar="M", type=int, help="of the extrapolation (default: 1, a straight line)")
    parser.add_argument("--ahead", metavar="K", type=int, help="steps ahead that are predicted (default: 1)")
    parser.add_argument("--steps", metavar="N", type=int, help="after the first century (default: 5, or all --century)")
    learner = parser.add_argument_group("the examinee")
    learner.add_argument(
        "--model", metavar="WHO", default="scripted:uniform",
        help="a folder, .gguf, package:NAME/FILE, OWNER/MODEL or run:DIR; scripted:NAME has no weights, its shares "
        "move towards what it is taught (default: scripted:uniform)",
    )  # fmt: skip
    shared.add_config(learner, required=False, help=f"how it is trained at each step (default: {CONFIG})")
    learner.add_argument("--objective", choices=("shares", "dpo"), default="shares",
                         help="what is learned (default: shares)")  # fmt: skip
    learner.add_argument("--weights", choices=("current", "first"), default="current",
                         help="a step begins with: those of the step before, or of the first century")  # fmt: skip
    learner.add_argument("--rate", metavar="R", type=float,
                         help="of who has no weights: how far an epoch moves shares (default: 0.5)")  # fmt: skip
    people = parser.add_argument_group("people")
    people.add_argument(
        "--drift", metavar="PATH",
        help=f"planted: {', '.join(PATHS)}, or a file with an object a line, tag -> weight (default: straight)",
    )  # fmt: skip
    people.add_argument("--pace", metavar="SD", type=float, help=f"of a weight's step (default: {USUAL_PACE})")
    people.add_argument("--seed", metavar="N", type=int, help=f"of the planted weights (default: {USUAL_SEED})")
    people.add_argument("--century", metavar="WHO", action="append", default=[],
                        help="instead: who people are, once for each century, as --model names them")  # fmt: skip
    asked = parser.add_argument_group("what is asked")
    asked.add_argument("--task", metavar="FOLDER", default="value_vector",
                       help="a questionnaire whose tally is vector (default: value_vector)")  # fmt: skip
    asked.add_argument("--condition", metavar="AXIS=ID,...", action="append", default=[],
                       help="ask under these conditions (default: the first of each axis)")  # fmt: skip
    asked.add_argument("--hold-out", metavar="SHARE", type=float, default=0.0,
                       help="of the rows: nobody is taught them, and they are counted apart (default: 0)")  # fmt: skip
    shared.add_resamples(parser)


def _names(said: str, flag: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in said.split(",") if name.strip()))
    if not names:
        raise UserError(f"--{flag}={said}: names nothing")
    return names


def _check(args: argparse.Namespace, challenges: list[str], algorithms: list[str]) -> None:
    """Refuses values out of range, and flags that nothing here reads."""
    shared.check_counts(args, "order", "ahead", "steps", "resamples")
    if unknown := [name for name in challenges if name not in CHALLENGES]:
        raise UserError(f"--challenge={unknown[0]}: no such challenge; there are {', '.join(CHALLENGES)}")
    ranges = {"rate": (0, 1), "pace": (0, float("inf")), "hold_out": (0, 1), "seed": (0, float("inf"))}
    for name, (low, high) in ranges.items():
        value = getattr(args, name)
        if value is not None and not (low <= value <= high and value < float("inf")):
            raise UserError(f"--{name.replace('_', '-')}={value}: expected a number from {low} to {high}")
    looks_ahead = set(algorithms) - {STATIC, "repeat", "lifelong"}
    scripted = args.model.startswith(SCRIPTED)
    people_scripted = not args.century or args.century[0].startswith(SCRIPTED)
    unread = {
        "order": not looks_ahead,
        "ahead": not looks_ahead and "predict" not in challenges,
        "drift": bool(args.century),
        "pace": bool(args.century) or args.drift not in (None, *PATHS),
        "seed": bool(args.century) or args.drift not in (None, *PATHS),
        "rate": not (scripted or "coevolve" in challenges and people_scripted),
    }
    for name, is_unread in unread.items():
        if getattr(args, name) is not None and is_unread:
            raise UserError(f"--{name}={getattr(args, name)}: nothing reads it beside the other flags; leave it out")
    if len(args.century) == 1:
        raise UserError(f"--century={args.century[0]}: expected at least two centuries")


def _named(who: str) -> tuple[Config, Path | None]:
    """Returns the config of somebody, and the run, if it is one."""
    if who.startswith(shared.RUN):
        from moral_jax.runs.directory import read_config

        run = Path(who.removeprefix(shared.RUN))
        return read_config(run), run
    config = parsing.from_flags(model_flags(who), file_needed=False)
    if config.respondent.kind in ("api", "baseline"):
        raise UserError(f"{who}: cannot learn; expected a model with weights here, run:DIR or scripted:NAME")
    return config, None


def _examinee(args: argparse.Namespace, rest: list[str]) -> tuple[Config, tuple[Config, Path | None]]:
    """Returns how the examinee is trained, and its config and run before that."""
    training = parsing.flags(args.config or CONFIG, rest)
    found, run = _named(args.model)
    if run is None:
        config = parsing.from_flags([*training, *model_flags(args.model)], file_needed=False)
        return config, (config, None)
    if own := [flag for flag in rest if flag.startswith(OF_A_RUN)]:
        raise UserError(f"{own[0]}: a run brings its own model, adapters and prompt; leave it out")
    config = parsing.from_flags(training, file_needed=False)
    config = dataclasses.replace(config, model=found.model, adapter=found.adapter, prompt=found.prompt)
    return config, (found, run)


def run(args: argparse.Namespace, rest: list[str]) -> None:
    """Simulates."""
    challenges, names = _names(args.challenge, "challenge"), _names(args.algorithm, "algorithm")
    _check(args, challenges, names)
    config, start = _examinee(args, rest)
    centuries = [_named(who) for who in args.century]
    from moral_jax.workflows import simulate, simulation
    from moral_jax.workflows.asking import Who

    algorithms = simulate.algorithms(names)
    usual = simulation.How()
    how = usual._replace(
        steps=args.steps or (len(centuries) - 1 if centuries else usual.steps), order=args.order or usual.order,
        ahead=args.ahead or usual.ahead, objective=args.objective, weights=args.weights, hold_out=args.hold_out,
        rate=usual.rate if args.rate is None else args.rate,
    )  # fmt: skip
    asked = simulate.read(args.task, args.condition)
    people = [Who(who, *found) for who, found in zip(args.century, centuries, strict=True)]
    plan = simulate.Plan(
        asked, how, config, Who(simulation.EXAMINEE, *start), people or args.drift or "straight",
        USUAL_PACE if args.pace is None else args.pace, USUAL_SEED if args.seed is None else args.seed,
        algorithms, challenges,
    )  # fmt: skip
    shared.show(simulate.make(plan, args.workdir or Path("runs") / "progress", args.resamples))
