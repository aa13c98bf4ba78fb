"""The command line: `train.py` and `moral-jax eval | score | plan | report | export | doctor | study | ...`."""

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from moral_jax import __version__, commands, config_io, files, guard, logs, preemption, secrets
from moral_jax.study import command as study
from moral_jax.types import Preempted, StorageError, UserError

TRAIN_HELP = """\
Scores a language model on votes, fine-tunes it, scores it again, and writes a report.

  python train.py --config=configs/demo.py
  python train.py --config=configs/scruples/smollm2_dilemmas.py --config.task.path=dev.scruples-dilemmas.jsonl
  python train.py --config=configs/demo.py --config.optim.lr=1e-5 --workdir=runs/slow
  python train.py --config=configs/demo.py --config.train.steps=0        (only evaluates)

A run directory that exists is resumed; one that holds another config is refused, with the difference shown. SIGTERM
ends a run after the step it is at, saved.
"""

LONGEST = 1500  # characters of an error


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's own last words on a fault of ours, without keys and tokens."""
    sys.stderr.write(secrets.redacted("".join(traceback.format_exception(kind, error, trace))))


def _refuse(said: str) -> None:
    """An error: without keys and tokens, or what would steer a terminal; of a text without end, its two ends."""
    said = secrets.redacted(said)
    if len(said) > LONGEST:
        said = f"{said[: LONGEST // 2]} ... {said[-LONGEST // 2 :]}"
    print("error: " + "".join(c if c.isprintable() or c == "\n" else "?" for c in said), file=sys.stderr)


def _guarded(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit code; a user's mistake becomes one message and exit code 2."""
    sys.excepthook = _tell
    try:
        return command() or 0
    except UserError as e:
        _refuse(str(e))
        return guard.FAILED
    except StorageError as e:
        _refuse(str(e))
        return guard.STORAGE
    except OSError as e:
        if files.is_of_storage(e):
            _refuse(str(files.storage_error(e)))
            return guard.STORAGE
        if e.filename is None:  # not about a file that the user could name
            raise
        _refuse(f"{e.filename}: {e.strerror}; name another, or correct it")
        return guard.FAILED
    except MemoryError as e:
        _refuse(f"not enough memory ({e}); lower config.data.length or batch sizes")
        return guard.FAILED
    except Preempted as e:
        print(e, file=sys.stderr)
        return guard.ENDED
    except KeyboardInterrupt:
        print("stopped; the same command resumes a run from its last checkpoint", file=sys.stderr)
        return guard.STOPPED


def train_main(arguments: list[str]) -> int:
    """`python train.py`."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        usage="train.py --config=FILE [--workdir=DIR] [--config.SECTION.FIELD=VALUE ...]",
        description=TRAIN_HELP,
        epilog="fields and their defaults:\n" + config_io.explain(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE[:PRESET]", help="a file of configs/, or your own")
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
    known, rest = parser.parse_known_args(arguments)

    def command() -> int | None:
        config = config_io.from_flags(config_io.flags(known.config, rest))
        others = (known.coordinator, known.processes, known.process)
        several, preempted_code = guard.expects_others(*others), guard.preempted_code()
        if several:
            guard.stand(known.coordinator or "the place that the cluster names")
        from moral_jax import distributed, run  # jax takes seconds to import: --help and typing mistakes should not

        if several:
            distributed.start(*others)
        if not distributed.is_primary():
            logs.mute()
        workdir = known.workdir or Path("runs") / config_io.run_name(known.config)
        try:
            with preemption.listening(), distributed.together():
                written = run.train(config, workdir, known.resume_from)
        except Preempted as e:
            logs.say(str(e))
            return preempted_code
        if written:
            print(f"\n{written.table}\n\n{written.verdict}\n\nreport: {written.html}")
        return None

    return _guarded(command)


def _add_model(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", metavar="DIR", type=Path, help="a finished run: its weights, prompt and task")
    which.add_argument(
        "--model", metavar="PATH", help="an untrained model: folder, .gguf, package:NAME/FILE or OWNER/MODEL"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="with --model: task and prompt (--config.SECTION.FIELD=VALUE works)"
    )


def _load(args: argparse.Namespace, rest: list[str]):
    from moral_jax import run

    run.set_up_jax()
    if args.run:
        if args.config or rest:
            raise UserError(f"{(args.config or rest[0])}: a run brings its own config; only --model takes one")
        return run.load_run(args.run)
    config = config_io.from_flags(
        [*config_io.flags(args.config, rest), f"--config.model.path={args.model}"], file_needed=False
    )
    return run.load_untrained(config)


def _eval(args: argparse.Namespace, rest: list[str]) -> None:
    trained = _load(args, rest)
    from moral_jax import run

    written = run.evaluate(trained, args.path, args.out)
    print(f"\n{written.table}\n\n{written.verdict}\n\nreport: {written.html}")


def _score(args: argparse.Namespace, rest: list[str]) -> None:
    from moral_jax import ask

    show = ask.as_json if args.json else ask.as_text
    live = args.file == "-" and sys.stdin.isatty()
    if not live:  # reads everything before it loads anything, so that a bad line costs nothing
        stream = sys.stdin.buffer if args.file == "-" else ask.open_input(args.file)
        examples = list(ask.read(stream, args.file))
    trained = _load(args, rest)
    from moral_jax import run

    answer = run.answerer(trained)
    if not live:
        print("\n".join(map(show, answer(examples))))
        return
    print("question | option | option ... (Ctrl-D ends)", file=sys.stderr)
    for number, line in enumerate(sys.stdin, 1):
        if line.strip():
            try:
                print(show(answer([ask.parse(line, f"line {number}")])[0]), flush=True)
            except UserError as e:
                _refuse(str(e))


def _plan(args: argparse.Namespace, rest: list[str]) -> None:
    config = config_io.from_flags(config_io.flags(args.config, rest))
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
        logs.say(plan.HEADER)
        made = plan.search(config, spec, where)
        if not made:
            raise UserError(f"nothing fits on {args.topology}: try more chips, or --config.model.param_dtype=bfloat16")
        best = plan.front(made)
        print("\nnothing is both faster and smaller than these, fastest first:\n" + plan.table(best))
        print(f"\n{plan.paste(best[0])}")
    if args.json:
        plan.save(made, args.json)


def _report(args: argparse.Namespace, rest: list[str]) -> None:
    if rest:
        raise UserError(f"{rest[0]}: unknown argument")
    from moral_jax.report import page

    print(f"report: {page.write(args.run).html}")


def _doctor(args: argparse.Namespace, rest: list[str]) -> int:
    from moral_jax.doctor import examine

    checks = examine.examine(config_io.flags(args.config, rest), args.workdir, args.coordinator)
    print(json.dumps([c._asdict() for c in checks], indent=2) if args.json else examine.table(checks))
    return int(any(c.state == examine.FAIL for c in checks))


def _export(args: argparse.Namespace, rest: list[str]) -> None:
    if rest:
        raise UserError(f"{rest[0]}: unknown argument")
    from moral_jax import publish

    with preemption.listening():
        if args.format == "peft":
            print(publish.write_adapter(args.run, args.out, args.dtype))
        else:
            print(publish.write(args.run, args.out, args.shard_mb, args.dtype))


def main(arguments: list[str] | None = None) -> int:
    """`moral-jax`."""
    parser = argparse.ArgumentParser(prog="moral-jax", description=__import__("moral_jax").__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"moral-jax {__version__}")
    known = parser.add_subparsers(required=True, metavar="COMMAND")

    add = known.add_parser("eval", help="score a file of rows with votes, and write records, metrics.json and the page")
    _add_model(add)
    add.add_argument("--path", required=True, help="rows in the task's format, .jsonl or .jsonl.gz")
    add.add_argument("--out", required=True, type=Path, help="a new directory")
    add.set_defaults(command=_eval)

    add = known.add_parser(
        "score",
        help="ask: questions with options in, a distribution for each out",
        description="One question a line: 'question | option | option', or JSON with question, options and maybe text.",
    )
    _add_model(add)
    add.add_argument("file", nargs="?", default="-", help="a file; default: standard input")
    add.add_argument("--json", action="store_true", help="one JSON object a line")
    add.set_defaults(command=_score)

    add = known.add_parser(
        "plan",
        help="compile a config for a TPU slice that is not here: memory, FLOPs, exchanges, and whether it fits",
        description="Needs the TPU compiler: pip install 'moral-jax[plan]'. Takes about a minute, a search many.",
    )
    add.add_argument("--config", metavar="FILE", required=True, help="(--config.SECTION.FIELD=VALUE works)")
    add.add_argument("--topology", required=True, help="v5e:4x4, v5p:2x2x1, v6e:2x4, v4:2x2x2, ...")
    which = add.add_mutually_exclusive_group()
    which.add_argument("--search", action="store_true", help="try meshes, remat policies and micro-batches")
    which.add_argument(
        "--memory",
        action="store_true",
        help="what all weights, adapters, and adapters on quantised weights hold from step to step; compiles nothing",
    )
    add.add_argument("--json", metavar="FILE", type=Path, help="write all numbers as JSON lines too")
    add.set_defaults(command=_plan)

    add = known.add_parser("report", help="write a run's page again from its files")
    add.add_argument("run", type=Path, metavar="DIR")
    add.set_defaults(command=_report)

    add = known.add_parser("doctor", help="check this machine and a config on it, and say what to do")
    add.add_argument("--config", metavar="FILE", help="also check this config (--config.SECTION.FIELD=VALUE works)")
    add.add_argument("--workdir", metavar="DIR", type=Path, default=Path("runs"), help="where runs will go")
    add.add_argument("--coordinator", metavar="HOST:PORT", help="check the address at which several processes meet")
    add.add_argument("--json", action="store_true", help="one JSON list")
    add.set_defaults(command=_doctor)

    add = known.add_parser("export", help="write a run's weights as a folder that transformers loads")
    add.add_argument("run", type=Path, metavar="RUN", help="a finished run")
    add.add_argument("out", type=Path, metavar="OUT", help="a new directory")
    add.add_argument(
        "--format",
        choices=("full", "peft"),
        default="full",
        help="of a run with adapters: merged into all weights (default), or the adapters alone as PEFT's files",
    )
    add.add_argument("--shard-mb", type=int, default=2048, metavar="N", help="largest weight file, MiB (default: 2048)")
    add.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: that of what the run trained")
    add.set_defaults(command=_export)

    study.add(known)
    commands.add_baseline(known)
    commands.add_api(known)
    args, rest = parser.parse_known_args(arguments)
    return _guarded(lambda: args.command(args, rest))
