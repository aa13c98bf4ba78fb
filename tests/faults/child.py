"""Runs train.py and disturbs it at a given point.

A plan is {"at": point, "count": n, "do": action, "after": seconds}. When the point is reached for the n-th time, the
action follows after so many seconds, whatever the program does by then.
"""

import ctypes
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import jax

# everything that train.py imports, so that forked processes start with it loaded
import tensorboardX.event_file_writer
import tensorboardX.summary  # noqa: F401  (imports torch if installed)

from moral_jax.cli import main as cli
from moral_jax.cli import train as command  # noqa: F401
from moral_jax.respondents import local
from moral_jax.train import loop
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.workflows import build
from moral_jax.workflows import train as workflow  # noqa: F401  (imported by the command when it is chosen)

POINTS = {"start": (build, "training_setup"), "step": (loop.MetricReader, "push"), "save": (Checkpoints, "save")}
POINTS["score"] = (local, "score_questions")


def _kill(_: dict) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _term(_: dict) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _stall(plan: dict) -> None:
    """Creates a file to report that the point is reached, then waits for a file that lets it go on."""
    here, go = (Path(plan["file"]).with_suffix(suffix) for suffix in (".here", ".go"))
    here.touch()
    end = time.monotonic() + 120
    while not go.exists() and time.monotonic() < end:
        time.sleep(0.02)


ACTIONS = {"kill": _kill, "term": _term, "stall": _stall}


def _hook(owner: object, name: str, count: int, act: Callable[[], None]) -> None:
    real, calls = getattr(owner, name), itertools.count(1)

    def hooked(*args: object, **kwargs: object) -> object:
        if next(calls) == count:
            act()
        return real(*args, **kwargs)

    setattr(owner, name, hooked)


def _plan(plan: dict) -> None:
    def act() -> None:
        ACTIONS[plan["do"]](plan)

    def later() -> None:
        timer = threading.Timer(plan["after"], act)
        timer.daemon = True
        timer.start()

    _hook(*POINTS[plan["at"]], plan["count"], later if plan.get("after") else act)


def _without_privileges() -> None:
    """Drops all capabilities, so that permissions bind root too."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, none) == 0


def main(plan: dict | None, arguments: list[str], env: dict[str, str], said: Path) -> None:
    """Runs in a forked process; its output goes to `said`.out and `said`.err."""
    for stream, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(said.with_suffix(suffix), os.O_WRONLY | os.O_CREAT, 0o644), stream)
    os.environ.update(env)
    # JAX read the environment at import, in the parent; small programs are cached too
    jax.config.update("jax_compilation_cache_dir", env["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _without_privileges()
    if plan:
        _plan(plan)
    sys.exit(cli.train_main(arguments))
