"""Runs cells one after the other, each as a process of its own: a crash costs one cell, and memory comes back."""

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
from moral_jax.study.jobs import DAMAGED, DONE, FAILED, RUNNING, TO_DO, Job

TAIL = 15  # last lines of a log that are kept beside a failure
PATIENCE = 30.0  # seconds that a run has to finish its step and save when the study is stopped
# bars in a log file: a line a minute instead of ten a second
QUIET = {"TQDM_MININTERVAL": "60", "PYTHONUNBUFFERED": "1"}


class Outcome(NamedTuple):
    """What became of a cell in this call."""

    job: Job
    state: str
    said: str  # how it ended, in words


def words(job: Job) -> str:
    """The cell's command as a person types it."""
    return shlex.join([*job.kind.words, *job.arguments, f"--workdir={job.run}"])


def _start(job: Job, out: TextIO, lock: int) -> subprocess.Popen:
    module, function = job.kind.entry.split(":")
    program = f"import sys; from {module} import {function}; sys.exit({function}(sys.argv[1:]))"
    arguments = [*job.kind.command, *job.arguments, f"--workdir={job.run}"]
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        pass_fds=(lock,),
        env=QUIET | dict(os.environ),
    )


def _wait(child: subprocess.Popen) -> int:
    """Its exit code; where this process is told to stop, the run is stopped first."""
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
    """Last lines of the attempt that began at a byte of the log."""
    with log.open("rb") as f:
        f.seek(start)
        lines = f.read().decode("utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip()][-TAIL:]


def _attempt(job: Job, lock: int) -> Outcome:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job.run.parent.mkdir(parents=True, exist_ok=True)
    started = datetime.datetime.now(datetime.UTC)
    clock = time.perf_counter()
    with job.log.open("a", encoding="utf-8") as out:
        out.write(f"\n# {started:%Y-%m-%d %H:%M:%S} UTC, {platform.node()}\n$ {words(job)}\n")
        out.flush()
        at = out.tell()
        code = _wait(_start(job, out, lock))
    seconds = time.perf_counter() - clock
    state = DONE if code == 0 and jobs.is_done(job) else FAILED
    ended = f"exit code {code}" if code else f"ended well, but {job.trouble}"
    notes = {
        "state": state,
        "command": words(job),
        "arguments": list(job.cell.arguments),
        "host": platform.node(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "exit_code": code,
        "tail": [] if state == DONE else _tail(job.log, at),
    }
    files.write_json(job.notes, notes)
    return Outcome(job, state, duration(seconds) if state == DONE else f"{ended} after {duration(seconds)}")


def _settle(job: Job) -> Outcome:
    if jobs.is_done(job):
        return Outcome(job, DONE, "was there")
    with jobs.claim(job) as lock:
        if lock is None:
            return Outcome(job, RUNNING, f"run by {jobs.owner(job)}")
        if jobs.is_done(job):  # finished by another worker since
            return Outcome(job, DONE, "was there")
        info(f"{job.cell.name}: started, {job.log}")
        return _attempt(job, lock)


def run(todo: list[Job]) -> list[Outcome]:
    """Runs what is not done and not run by another worker; a failure is recorded, and the others go on."""
    outcomes = []
    with console.progress(total=len(todo), desc="cells", unit="cell") as bar:
        for job in todo:
            bar.set_postfix_str(job.cell.name)
            outcomes.append(_settle(job))
            if outcomes[-1].said != "was there":
                info(f"{job.cell.name}: {outcomes[-1].state}, {outcomes[-1].said}")
            bar.update()
    return outcomes


def duration(seconds: float) -> str:
    """ "1:02:03"."""
    return str(datetime.timedelta(seconds=round(seconds)))


def summary(outcomes: list[Outcome]) -> str:
    """How many are done, and what became of each of the others."""
    count = {state: sum(o.state == state for o in outcomes) for state in (DONE, RUNNING, FAILED)}
    lines = [", ".join(f"{n} {state}" for state, n in count.items() if n or state == DONE)]
    for o in outcomes:
        if o.state == FAILED:
            last = (jobs.read_notes(o.job).get("tail") or ["(it printed nothing)"])[-1]
            lines.append(f"failed: {o.job.cell.name}, {o.said}; its log {o.job.log} ends with\n    {last}")
        elif o.state == RUNNING:
            lines.append(f"running: {o.job.cell.name}, {o.said}")
    return "\n".join(lines)


def listing(todo: list[Job]) -> str:
    """A line for each cell: state, time of its last attempt, name."""
    rows = []
    for job in todo:
        notes = jobs.read_notes(job)
        took = duration(notes["seconds"]) if "seconds" in notes else ""
        rows.append(f"{jobs.state(job):8} {took:>8}  {job.cell.name}")
    return "\n".join(rows)


def commands(todo: list[Job]) -> str:
    """What would be started, a line for each cell that is not done."""
    return "\n".join(words(job) for job in todo if jobs.state(job) in (TO_DO, FAILED, DAMAGED))
