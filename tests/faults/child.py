"""Runs a command and disturbs it at a given point.

A plan is {"at": point, "count": n, "do": action, "after": seconds}. When the point is reached for the n-th time, the
action follows after so many seconds, whatever the program does by then.
"""

import ctypes
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from moral_jax.cli import main as cli
from moral_jax.inference.sampler import Sampler
from moral_jax.respondents import local
from moral_jax.runs import rollouts, written
from moral_jax.train import checksum, loop, manifest
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.workflows import build
from moral_jax.workflows import rollouts as source

POINTS = {
    "start": (build, "training_setup"),
    "score": (local, "score_questions"),
    "step": (loop.MetricReader, "push"),
    "save": (Checkpoints, "save"),
    "read back": (checksum, "on_host"),
    "seal": (manifest, "write"),
    "remove": (manifest, "remove"),
    "tokens": (Sampler, "go_on"),
    "read tokens": (source, "score_tokens"),
    "rollout": (rollouts, "write"),
    "replies": (written, "append"),
    "all replies": (written, "finish"),
}


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


def main(plan: dict | None, arguments: list[str]) -> int:
    """Runs in a process that was just forked."""
    _without_privileges()
    if plan:
        _plan(plan)
    return cli.main(arguments)
