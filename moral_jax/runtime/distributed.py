"""Multi-process helpers; no-ops in a single process. The only module that reads the process index.

`start` joins the processes of a run through JAX's coordination service. Afterwards, the primary process (index 0) reads
and writes the run directory, and `from_primary` broadcasts its results, so that all processes take the same decisions.
`AnyProcess` lets them agree to stop or save at the same call. `exit_together` ends a failed process immediately: a
normal exit would block in JAX's shutdown barrier, waiting for processes that have died.
"""

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from moral_jax.runtime import preemption, supervisor
from moral_jax.types import Preempted, StorageError, UserError

T = TypeVar("T")
# Matches the errors of collectives and of the coordination service about a lost peer. CPU collectives raise ValueError.
GONE = re.compile(
    r"gloo|nccl|coordination|heartbeat|UNAVAILABLE|ABORTED|DEADLINE_EXCEEDED|connection (reset|closed)", re.I
)


def start(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Joins the other processes of the run. Must be called before the first JAX array is created.

    Args:
      coordinator: HOST:PORT of process 0.
      processes: number of processes.
      process: index of this process.
      All three are given, as checked by `supervisor.expects_others`, or all are None if Cloud TPU or Slurm sets them.

    Raises:
      UserError: the other processes cannot be reached.
    """
    where, limit = coordinator or "the address given by the cluster", supervisor.start_seconds()
    if coordinator and process and (obstacle := supervisor.await_port(*supervisor.split_address(coordinator), limit)):
        raise UserError(
            f"--coordinator={coordinator}: process {process} of {processes} could not connect within {limit} s "
            f"({obstacle}). Check that process 0 is running, that this is its address, and that the port is open "
            f"between the machines"
        )
    # checked here because JAX may crash instead of reporting it
    if coordinator and process == 0 and supervisor.in_use(supervisor.split_address(coordinator)[1]):
        raise UserError(f"--coordinator={coordinator}: this port is in use on this machine; choose another")
    # By default JAX listens at every address. If all processes are on this machine, loopback is enough.
    is_local = coordinator is not None and process == 0 and supervisor.is_loopback(coordinator)
    # JAX's preemption service would take over SIGTERM, but it agrees only on optimizer steps. Scoring must stop too, so
    # AnyProcess is used instead.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=limit,
            heartbeat_timeout_seconds=supervisor.heartbeat_seconds(),
            coordinator_bind_address=coordinator if is_local else None,
        )
    except (RuntimeError, ValueError) as e:
        raise UserError(f"could not join the other processes at {where}: {e}") from e
    supervisor.report_joined(_me())


def _me() -> str:
    """Returns this process's name, such as "process 1 of 2"."""
    return f"process {jax.process_index()} of {jax.process_count()}"


def is_alone() -> bool:
    """Returns True in the only process of a run.

    Does not start JAX's backend, because commands that query an API run without devices.
    """
    return not jax.distributed.is_initialized() or jax.process_count() == 1


def is_primary() -> bool:
    """Returns True in the process that writes the run directory and prints messages."""
    return is_alone() or jax.process_index() == 0


def _broadcast(text: bytes) -> bytes:
    """Returns the primary process's bytes on all processes."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    buffer = np.zeros(size, np.uint8)
    if is_primary():
        buffer[:] = np.frombuffer(text, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(buffer)).astype(np.uint8).tobytes()


def from_primary(make: Callable[[], T]) -> T:
    """Calls `make` on the primary process and returns its result on all processes.

    The run directory is read and written only in `make`, so that all processes proceed alike, whatever disk they see.

    Args:
      make: returns a JSON value.

    Raises:
      UserError: `make` raised it on the primary; raised on all processes.
    """
    if is_alone():
        return make()
    answer: dict[str, Any] = {}
    if is_primary():
        try:
            answer = {"value": make()}
        except UserError as e:
            answer = {"error": str(e)}
    answer = json.loads(_broadcast(json.dumps(answer).encode()))
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["value"]


def same_everywhere(what: str, mine: Any) -> None:
    """Checks that a value is equal on all processes.

    Processes that were started with different settings would compute wrong results, or wait for each other forever.

    Args:
      what: description of the value, for the error.
      mine: this process's value, a JSON value.

    Raises:
      UserError: the primary's value differs; raised on the processes that differ.
    """
    mine = json.loads(json.dumps(mine))  # a tuple is a list there
    if mine != from_primary(lambda: mine):
        raise UserError(f"{what} is not the same here as on process 0: start the same command on all machines")


class AnyProcess:
    """Combines requests by `or` over all processes: a request of any process is granted on all at the same call.

    The processes exchange their requests every few seconds and not at every call, because the devices wait during an
    exchange. All processes must make the same calls.
    """

    SECONDS = 5.0  # between exchanges; a scheduler leaves about 30 between SIGTERM and SIGKILL

    def __init__(self) -> None:
        self._calls, self._gap, self._since = 0, 1, time.monotonic()

    def __call__(self, *requests: bool) -> tuple[bool, ...]:
        """Returns which requests are granted now. Until its request is granted, a process must repeat it."""
        if is_alone():
            return requests
        self._calls += 1
        if self._calls < self._gap:
            return (False,) * len(requests)
        pace = max(time.monotonic() - self._since, 1e-9) / self._calls
        gap = max(1, min(2 * self._gap, int(self.SECONDS / pace)))
        gathered = multihost_utils.process_allgather(np.array([gap, *requests], np.int32))
        self._gap = int(gathered[0, 0])  # the primary's value, as clocks differ
        self._calls, self._since = 0, time.monotonic()
        return tuple(bool(request) for request in gathered[:, 1:].any(axis=0))


def leave_if_preempted(where: str) -> None:
    """Stops the run between two pieces of work if any process was preempted. All processes call it together.

    Raises:
      Preempted: a process has received SIGTERM.
    """
    if AnyProcess()(preemption.noticed())[0]:
        raise Preempted(f"preempted {where}; the same command goes on")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an exception and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def last_words(error: BaseException) -> tuple[int, str]:
    """Returns the exit code and the last message for the exception that ended a process of a multi-process run."""
    if isinstance(error, UserError):
        return supervisor.FAILED, f"error: {_me()}: {error}"
    if isinstance(error, KeyboardInterrupt):
        return (
            supervisor.STOPPED,
            f"{_me()}: stopped; the same command on all machines resumes from the last checkpoint",
        )
    for e in _chain(error):  # checked before StorageError, because a lost process also breaks a save
        if isinstance(e, (jax.errors.JaxRuntimeError, ValueError)) and GONE.search(str(e)):
            first = str(e).strip().splitlines()[0]
            return (
                supervisor.LOST,
                f"error: {_me()}: lost another process of this run ({first}). {supervisor.LOST_HINT}",
            )
    if isinstance(error, StorageError):
        return supervisor.STORAGE, f"error: {_me()}: {error}"
    return 1, "".join(traceback.format_exception(error)) + f"error: {_me()}: {type(error).__name__}, see above"


class exit_together:  # noqa: N801  (used like a function: `with exit_together():`)
    """Ends this process at once if the block fails; the other processes notice and end too. Wraps all joint work.

    A normal exit blocks in JAX's shutdown barrier, waiting for processes that have died.
    """

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Preempted) or is_alone():
            return  # all processes reach this point together
        code, line = last_words(error)
        sys.stdout.flush()
        print(line, file=sys.stderr, flush=True)
        os._exit(code)
