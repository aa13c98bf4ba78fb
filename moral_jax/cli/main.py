"""The command line: `train.py` and `moral-jax eval | score | plan | report | export | doctor | study | ...`."""

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from moral_jax import __version__
from moral_jax.cli import answers, evaluate, export, plan, study
from moral_jax.config import parsing
from moral_jax.runtime import console, files, preemption, secrets, supervisor
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


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Python's own last words on a fault of ours, without keys and tokens."""
    sys.stderr.write(secrets.redacted("".join(traceback.format_exception(kind, error, trace))))


def _tell_unraisable(fault: "sys.UnraisableHookArgs") -> None:
    """The same for what nobody could catch."""
    if str(fault.exc_value) == "Event loop is closed":
        return  # TensorStore, late: what it could not write was said by who waited for it
    _tell(fault.exc_type, fault.exc_value, fault.exc_traceback)


def _guarded(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit code; a user's mistake becomes one message and exit code 2."""
    sys.excepthook, sys.unraisablehook = _tell, _tell_unraisable
    try:
        return command() or 0
    except UserError as e:
        console.refuse(str(e))
        return supervisor.FAILED
    except StorageError as e:
        console.refuse(str(e))
        return supervisor.STORAGE
    except OSError as e:
        if files.is_of_storage(e):
            console.refuse(str(files.storage_error(e)))
            return supervisor.STORAGE
        if e.filename is None:  # not about a file that the user could name
            raise
        console.refuse(f"{e.filename}: {e.strerror}; name another, or correct it")
        return supervisor.FAILED
    except MemoryError as e:
        console.refuse(f"not enough memory ({e}); lower config.data.length or batch sizes")
        return supervisor.FAILED
    except Preempted as e:
        print(e, file=sys.stderr)
        return supervisor.ENDED
    except KeyboardInterrupt:
        print("stopped; the same command resumes a run from its last checkpoint", file=sys.stderr)
        return supervisor.STOPPED


def train_main(arguments: list[str]) -> int:
    """`python train.py`."""
    parser = argparse.ArgumentParser(
        prog="train.py",
        usage="train.py --config=FILE [--workdir=DIR] [--config.SECTION.FIELD=VALUE ...]",
        description=TRAIN_HELP,
        epilog="fields and their defaults:\n" + parsing.explain(),
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
        config = parsing.from_flags(parsing.flags(known.config, rest))
        others = (known.coordinator, known.processes, known.process)
        several, preempted_code = supervisor.expects_others(*others), supervisor.preempted_code()
        if several:
            supervisor.stand(known.coordinator or "the place that the cluster names")
        from moral_jax.runtime import distributed
        from moral_jax.workflows import train  # jax takes seconds to import: --help and typing mistakes should not

        if several:
            distributed.start(*others)
        if not distributed.is_primary():
            console.mute()
        workdir = known.workdir or Path("runs") / parsing.run_name(known.config)
        try:
            with preemption.listening(), distributed.together():
                written = train.train(config, workdir, known.resume_from)
        except Preempted as e:
            console.say(str(e))
            return preempted_code
        if written:
            print(f"\n{written.table}\n\n{written.verdict}\n\nreport: {written.html}")
        return None

    return _guarded(command)


def main(arguments: list[str] | None = None) -> int:
    """`moral-jax`."""
    parser = argparse.ArgumentParser(prog="moral-jax", description=__import__("moral_jax").__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"moral-jax {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    evaluate.add_eval(commands)
    evaluate.add_score(commands)
    plan.add_plan(commands)
    export.add_report(commands)
    plan.add_doctor(commands)
    export.add_export(commands)
    study.add(commands)
    answers.add_baseline(commands)
    answers.add_api(commands)
    args, rest = parser.parse_known_args(arguments)
    return _guarded(lambda: args.command(args, rest))
