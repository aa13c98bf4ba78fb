"""Which process of a run this is: the only file that asks. One process alone needs and notices none of it."""

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
# How collectives and the coordination service speak of a peer that is gone; the CPU's collectives raise ValueError.
GONE = re.compile(
    r"gloo|nccl|coordination|heartbeat|UNAVAILABLE|ABORTED|DEADLINE_EXCEEDED|connection (reset|closed)", re.I
)


def start(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Joins the other processes of the run. Must come before the first array.

    Args:
      coordinator: HOST:PORT of process 0; with `processes` (how many) and `process` (which one this is). All three,
        checked by `guard.expects_others`, or none: then Cloud TPU and Slurm say it.

    Raises:
      UserError: the others cannot be reached.
    """
    where, limit = coordinator or "the place that the cluster names", supervisor.start_seconds()
    if process and (obstacle := supervisor.await_port(*supervisor.split_address(coordinator), limit)):
        raise UserError(
            f"--coordinator={coordinator}: process {process} of {processes} found nobody there for {limit} s "
            f"({obstacle}). Is process 0 started, is this its address, and is the port open between the machines?"
        )
    if process == 0 and supervisor.in_use(
        supervisor.split_address(coordinator)[1]
    ):  # JAX may crash instead of saying so
        raise UserError(f"--coordinator={coordinator}: this port is in use on this machine; take another")
    # JAX's own service would take SIGTERM, and agree upon optimizer steps only: we also stop while scoring (Agreement)
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=limit,
            heartbeat_timeout_seconds=supervisor.heartbeat_seconds(),
            # JAX listens at every address; processes that meet on this machine alone need none but its own
            coordinator_bind_address=coordinator if process == 0 and supervisor.is_loopback(coordinator) else None,
        )
    except (RuntimeError, ValueError) as e:
        raise UserError(f"could not join the other processes at {where}: {e}") from e
    supervisor.report_joined(_me())


def _me() -> str:
    return f"process {jax.process_index()} of {jax.process_count()}"


def is_alone() -> bool:
    """Returns true for the only process of a run. Does not start JAX's backend: an API is asked without devices."""
    return not jax.distributed.is_initialized() or jax.process_count() == 1


def is_primary() -> bool:
    """The one process that writes the run directory and speaks."""
    return is_alone() or jax.process_index() == 0


def _broadcast(text: bytes) -> bytes:
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    buffer = np.zeros(size, np.uint8)
    if is_primary():
        buffer[:] = np.frombuffer(text, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(buffer)).astype(np.uint8).tobytes()


def from_primary(make: Callable[[], T]) -> T:
    """What `make` returns on the primary process, on all of them; a UserError too.

    The run directory is read and written through this alone, so that all processes do the same whatever disk they see.

    Args:
      make: returns something that JSON can hold.
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
    """Processes that were started in different ways would compute nonsense, or wait for each other forever.

    Args:
      mine: something that JSON can hold.

    Raises:
      UserError: the primary has another; on the processes that differ.
    """
    if json.loads(json.dumps(mine)) != from_primary(lambda: mine):
        raise UserError(f"{what} is not the same here as on process 0: start the same command on all machines")


class AnyProcess:
    """What any process wishes, known to all of them at the same call.

    They tell each other every few seconds, not at every call, for which the devices would have to wait. All processes
    must make the same calls.
    """

    SECONDS = 5.0  # between exchanges; a scheduler leaves about 30 between SIGTERM and SIGKILL

    def __init__(self) -> None:
        self._calls, self._gap, self._since = 0, 1, time.monotonic()

    def __call__(self, *wishes: bool) -> tuple[bool, ...]:
        """Which wishes are to be fulfilled now. A process whose wish is not goes on wishing."""
        if is_alone():
            return wishes
        self._calls += 1
        if self._calls < self._gap:
            return (False,) * len(wishes)
        pace = max(time.monotonic() - self._since, 1e-9) / self._calls
        gap = max(1, min(2 * self._gap, int(self.SECONDS / pace)))
        everyone = multihost_utils.process_allgather(np.array([gap, *wishes], np.int32))
        self._gap = int(everyone[0, 0])  # by the primary's clock
        self._calls, self._since = 0, time.monotonic()
        return tuple(bool(wish) for wish in everyone[:, 1:].any(axis=0))


def leave_if_preempted(where: str) -> None:
    """Between two pieces of work. All processes call it together.

    Raises:
      Preempted: one of them was told to end.
    """
    if AnyProcess()(preemption.noticed())[0]:
        raise Preempted(f"preempted {where}; the same command goes on")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def last_words(error: BaseException) -> tuple[int, str]:
    """Exit code and line for what ended a process of several."""
    if isinstance(error, UserError):
        return supervisor.FAILED, f"error: {_me()}: {error}"
    if isinstance(error, KeyboardInterrupt):
        return (
            supervisor.STOPPED,
            f"{_me()}: stopped; the same command on all machines resumes from the last checkpoint",
        )
    for e in _chain(error):  # before anything else: a lost process breaks a save, too
        if isinstance(e, (jax.errors.JaxRuntimeError, ValueError)) and GONE.search(str(e)):
            first = str(e).strip().splitlines()[0]
            return (
                supervisor.LOST,
                f"error: {_me()}: lost another process of this run ({first}). {supervisor.LOST_HINT}",
            )
    if isinstance(error, StorageError):
        return supervisor.STORAGE, f"error: {_me()}: {error}"
    return 1, "".join(traceback.format_exception(error)) + f"error: {_me()}: {type(error).__name__}, see above"


class exit_together:  # noqa: N801  (used like a function: `with together():`)
    """Around everything that processes do together: when one fails, it ends at once, and the others notice and end.

    Any other way out would wait for all processes to say goodbye, the dead ones too.
    """

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Preempted) or is_alone():
            return  # all of them leave together
        code, line = last_words(error)
        sys.stdout.flush()
        print(line, file=sys.stderr, flush=True)
        os._exit(code)
