"""The guardian of a process: it speaks and exits for a child that was aborted, and neither outlives the other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moral_jax.runtime import supervisor

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import os, sys, time
from moral_jax.runtime import supervisor
supervisor.fork_supervisor("HERE")
if sys.argv[2:]:
    supervisor.report_joined(sys.argv[2])
print(os.getpid(), flush=True)
if sys.argv[1] == "abort":
    os.abort()
if sys.argv[1] == "leave":
    sys.exit(7)
time.sleep(60)
"""


def begin(*arguments):
    """A guardian, and the id of the process that it guards, which has begun to work."""
    guardian = subprocess.Popen(
        [sys.executable, "-c", WORK, *arguments], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    return guardian, int(guardian.stdout.readline())


def runs(pid) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def ended(pid) -> bool:
    end = time.monotonic() + 10
    while runs(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not runs(pid)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["leave"], 7, ""),
        (["abort"], supervisor.FAILED, "error: could not join the other processes at HERE"),
        (["abort", "process 1 of 2"], supervisor.LOST, "error: process 1 of 2: lost another process of this run"),
    ],
)
def test_it_exits_as_its_child_did_and_speaks_for_it(arguments, code, line):
    guardian, _ = begin(*arguments)
    _, said = guardian.communicate(timeout=30)
    assert guardian.returncode == code
    assert said.startswith(line)
    assert said.count("\n") == bool(line)


@pytest.mark.parametrize("name", [[], ["process 1 of 2"]])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_who_ends_the_guardian_ends_the_work(name, how):
    guardian, work = begin("sleep", *name)
    guardian.send_signal(how)
    guardian.communicate(timeout=30)
    assert guardian.returncode == (-signal.SIGKILL if how == signal.SIGKILL else supervisor.ENDED)
    assert ended(work)
