"""train.py, to which something happens on its way: python -m tests.faults.child PLAN ARGUMENTS-OF-TRAIN...

PLAN is JSON, {"at": point, "count": n, "do": action, "after": seconds}: when the point is reached for the n-th time,
the action follows after so many seconds, whatever the program does then.
"""

import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _term() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _stall(file: Path) -> None:
    """Says that it is there, and waits to be told to go on."""
    file.with_suffix(".here").touch()
    end = time.monotonic() + 120
    while not file.with_suffix(".go").exists() and time.monotonic() < end:
        time.sleep(0.02)


def _hook(owner: object, name: str, count: int, act: Callable[[], None]) -> None:
    real, calls = getattr(owner, name), itertools.count(1)

    def hooked(*args: object, **kwargs: object) -> object:
        if next(calls) == count:
            act()
        return real(*args, **kwargs)

    setattr(owner, name, hooked)


def main(plan: dict, arguments: list[str]) -> int:
    actions = {"kill": _kill, "term": _term, "stall": lambda: _stall(Path(plan["file"]))}
    act, after = actions[plan["do"]], plan.get("after", 0)

    def later() -> None:
        if after:
            timer = threading.Timer(after, act)
            timer.daemon = True
            timer.start()
        else:
            act()

    if plan["at"] == "start":
        later()
    import jax

    from moral_jax import cli, run
    from moral_jax.evals import run as evals
    from moral_jax.train import loop
    from moral_jax.train.checkpoint import Checkpoints

    def keep_all_programs() -> None:
        set_up()
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

    set_up, run.set_up_jax = run.set_up_jax, keep_all_programs
    points = {"step": (loop.Reader, "push"), "save": (Checkpoints, "save"), "score": (evals, "score_questions")}
    if plan["at"] in points:
        _hook(*points[plan["at"]], plan["count"], later)
    return cli.train_main(arguments)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2:]))
