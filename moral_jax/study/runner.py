"""Runs cells one after the other, each in its own process. A crash costs one cell, and all memory is freed."""

import datetime
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, TextIO

from moral_jax.runtime import console, files
from moral_jax.runtime.console import info
from moral_jax.study import jobs
from moral_jax.study.jobs import DAMAGED, DONE, FAILED, RUNNING, STALE, TO_DO, WAITING, Job

TAIL = 15  # last lines of a log that are noted after a failure
PATIENCE = 30.0  # seconds for a run to finish its step and save when the study is stopped
WAS_DONE = "was there"  # the message of a cell that was finished before this call
# progress bars in a log file: a line a minute instead of ten a second
QUIET = {"TQDM_MININTERVAL": "60", "PYTHONUNBUFFERED": "1"}


class Outcome(NamedTuple):
    """The result of a cell in this call."""

    job: Job
    state: str
    message: str  # how it ended


def shell_command(job: Job) -> str:
    """Returns the command of a cell as a person types it."""
    return shlex.join([*job.kind.shell_words, *job.arguments, f"--workdir={job.run}"])


def _start(job: Job, out: TextIO, lock: int) -> subprocess.Popen:
    module, function = job.kind.entry_point.split(":")
    program = f"import sys; from {module} import {function}; sys.exit({function}(sys.argv[1:]))"
    arguments = [*job.kind.first_arguments, *job.arguments, f"--workdir={job.run}"]
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        pass_fds=(lock,),
        env=QUIET | dict(os.environ),
    )


def _wait(child: subprocess.Popen) -> int:
    """Waits for the exit code of a run. If this process is told to stop, the run is stopped first."""
    try:
        return child.wait()
    except BaseException:
        child.terminate()
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise


def _tail(log: Path, start: int) -> list[str]:
    """Returns the last lines of the attempt that began at byte `start` of the log."""
    with log.open("rb") as f:
        f.seek(start)
        lines = f.read().decode("utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip()][-TAIL:]


def _run_cell(job: Job, lock: int) -> Outcome:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job.run.parent.mkdir(parents=True, exist_ok=True)
    started = datetime.datetime.now(datetime.UTC)
    clock = time.perf_counter()
    with job.log.open("a", encoding="utf-8") as out:
        out.write(f"\n# {started:%Y-%m-%d %H:%M:%S} UTC, {platform.node()}\n$ {shell_command(job)}\n")
        out.flush()
        at = out.tell()
        code = _wait(_start(job, out, lock))
    seconds = time.perf_counter() - clock
    state = DONE if code == 0 and jobs.is_done(job) else FAILED
    ended = f"exit code {code}" if code else f"ended well, but {job.trouble}"
    notes = {
        "state": state,
        "command": shell_command(job),
        "arguments": list(job.cell.arguments),
        "host": platform.node(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "exit_code": code,
        "tail": [] if state == DONE else _tail(job.log, at),
    }
    files.write_json(job.notes, notes)
    return Outcome(job, state, duration(seconds) if state == DONE else f"{ended} after {duration(seconds)}")


def _run_unless_done(job: Job) -> Outcome:
    if jobs.is_done(job):
        return Outcome(job, DONE, WAS_DONE)
    if why := jobs.stale(job):
        return Outcome(job, STALE, why)
    if job.before and not jobs.is_done(job.before):
        return Outcome(job, WAITING, f"for {job.before.cell.name}, which is {jobs.state(job.before)}")
    with jobs.claim(job) as lock:
        if lock is None:
            return Outcome(job, RUNNING, f"run by {jobs.owner(job)}")
        if jobs.is_done(job):  # finished by another worker since
            return Outcome(job, DONE, WAS_DONE)
        info(f"{job.cell.name}: started, {job.log}")
        return _run_cell(job, lock)


def run(todo: list[Job]) -> list[Outcome]:
    """Runs the cells that are not done and not run by another worker. A failure is noted, and the next cell runs; cells
    that begin with one that failed, or that another worker runs, wait."""
    outcomes = []
    with console.progress(total=len(todo), desc="cells", unit="cell") as bar:
        for job in todo:
            bar.set_postfix_str(job.cell.name)
            outcomes.append(_run_unless_done(job))
            if outcomes[-1].message != WAS_DONE:
                info(f"{job.cell.name}: {outcomes[-1].state}, {outcomes[-1].message}")
            bar.update()
    return outcomes


def duration(seconds: float) -> str:
    """Formats seconds as "1:02:03"."""
    return str(datetime.timedelta(seconds=round(seconds)))


def summary(outcomes: list[Outcome]) -> str:
    """Returns the number of cells in each state, then a line for each that failed, waits, is stale or is run
    elsewhere."""
    count = {state: sum(o.state == state for o in outcomes) for state in (DONE, RUNNING, FAILED, WAITING, STALE)}
    lines = [", ".join(f"{n} {state}" for state, n in count.items() if n or state == DONE)]
    for o in outcomes:
        if o.state == FAILED:
            last = (jobs.read_notes(o.job).get("tail") or ["(it printed nothing)"])[-1]
            lines.append(f"failed: {o.job.cell.name}, {o.message}; its log {o.job.log} ends with\n    {last}")
        elif o.state in (RUNNING, WAITING, STALE):
            lines.append(f"{o.state}: {o.job.cell.name}, {o.message}")
    return "\n".join(lines)


def listing(todo: list[Job]) -> str:
    """Returns a line for each cell: state, time of its last attempt, name."""
    rows = []
    for job in todo:
        notes = jobs.read_notes(job)
        took = duration(notes["seconds"]) if "seconds" in notes else ""
        rows.append(f"{jobs.state(job):8} {took:>8}  {job.cell.name}")
    return "\n".join(rows)


def commands(todo: list[Job]) -> str:
    """Returns the commands of the cells that are not done, a line each."""
    return "\n".join(shell_command(job) for job in todo if jobs.state(job) in (TO_DO, FAILED, DAMAGED, WAITING))
