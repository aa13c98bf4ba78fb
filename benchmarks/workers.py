"""Processes that keep their state and compute one piece at a time, when asked: JSON lines in, JSON lines out.

Standard library only: the two sides may run under different interpreters.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")


def serve(kinds: dict[str, Callable[..., Any]], device_peak: Callable[[], int]) -> None:
    """The worker's side: `start` makes an object of the asked kind, every other request calls one of its methods.

    Args:
      device_peak: the most bytes that were held on an accelerator; 0 without one.
    """
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not be taken for a reply
    worker = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            worker = kinds[request["kind"]](**request["with"])
            reply = worker.about
        elif request["do"] == "device_peak":
            reply = device_peak()
        else:
            reply = getattr(worker, request["do"])(**request["with"])
        replies.write(json.dumps(reply) + "\n")


class Worker:
    """The driver's side: one process, which sleeps between requests."""

    def __init__(self, name: str, python: str, script: str, environment: dict[str, str]):
        self.name, self.began = name, time.perf_counter()
        quiet = {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
        self.process = subprocess.Popen(
            [python, str(HERE / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | quiet | environment,
        )

    def start(self, kind: str, **given: Any) -> None:
        self.about = self._send({"do": "start", "kind": kind, "with": given})

    def ask(self, do: str, **given: Any) -> Any:
        return self._send({"do": do, "with": given})

    def _send(self, request: dict[str, Any]) -> Any:
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            sys.exit(f"{self.name}: ended with exit status {self.process.wait()} at {request['do']!r}; see above")
        return json.loads(line)

    def age(self) -> float:
        """Seconds since the process was started."""
        return time.perf_counter() - self.began

    def busy(self) -> float:
        """Processor seconds that the process has used (Linux)."""
        after_name = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / TICKS

    def peak_gib(self) -> float:
        """The most memory that the process ever held: on its accelerator, or without one, in all (Linux)."""
        held = self.ask("device_peak")
        if held:
            return held / 2**30
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 2**20

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()


def machine_busy() -> float:
    """Processor seconds that all processes have used (Linux)."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / TICKS


def watched(worker: Worker, do: str, **given: Any) -> tuple[Any, float]:
    """Returns what a worker answers, and how many cores other processes had meanwhile: their work is in its numbers."""
    began, before = time.perf_counter(), machine_busy() - worker.busy()
    answer = worker.ask(do, **given)
    return answer, (machine_busy() - worker.busy() - before) / (time.perf_counter() - began)
