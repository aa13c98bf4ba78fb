"""Forks a small supervisor process in front of each process of a multi-process run.

When JAX loses another process, or never reaches it, its C++ code aborts the process that notices. No `except` catches
this, so the work runs in a child. Its parent, the supervisor, waits for it. If a signal ended the child, the supervisor
prints one line and exits with a matching code (`verdict`). A socket pair connects the two: through it the child reports
its name once it has joined the others (`report_joined`), and notices when the supervisor dies (`_die_with_supervisor`).
This module also checks the flags and addresses of multi-process runs. No jax: forking must precede any thread.
"""

import contextlib
import errno
import glob
import importlib.util
import os
import signal
import socket
import sys
import threading
import time

from moral_jax.types import UserError

DIGITS = 6  # of a time limit in seconds: up to eleven days
# Exit codes: invalid input; lost another process; disk full or broken (EX_IOERR); Ctrl-C; SIGTERM
FAILED, LOST, STORAGE, STOPPED, ENDED = 2, 3, 74, 130, 143
LOST_HINT = "Look at its log for the cause; the same command on all machines resumes from the last checkpoint"

_supervisor: socket.socket | None = None  # in the child: the socket to its supervisor


def seconds(variable: str, default: int) -> int:
    """Returns a time limit: the value of an environment variable, or the default."""
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or len(text) > DIGITS or int(text) < 1:
        raise UserError(
            f"{variable}={text}: expected a whole number of seconds, at least 1, with at most {DIGITS} digits"
        )
    return int(text)


def preempted_code() -> int:
    """Returns the exit code of a preempted run that can be resumed: $MORAL_JAX_PREEMPTED_EXIT, or 0."""
    text = os.environ.get("MORAL_JAX_PREEMPTED_EXIT", "0")
    if not text.isdecimal() or int(text) > 255:
        raise UserError(f"MORAL_JAX_PREEMPTED_EXIT={text}: expected an exit code, 0 to 255")
    return int(text)


def heartbeat_seconds() -> int:
    """Returns the time without a heartbeat after which a process counts as dead and all others stop."""
    return seconds("MORAL_JAX_HEARTBEAT_SECONDS", 60)


def start_seconds() -> int:
    """Returns how long processes wait for each other at the start, because machines boot at different times."""
    return seconds("MORAL_JAX_START_SECONDS", 300)


def _in_cluster() -> bool:
    """Returns True if JAX can find its peers by itself: on Cloud TPU, and under Slurm with more than one task."""
    # SLURM_NTASKS is also set in a batch script, which is a single process; only processes of srun belong to a step
    slurm = "SLURM_STEP_NODELIST" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1
    chips = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    return slurm or bool(chips and importlib.util.find_spec("libtpu"))


def split_address(flag: str) -> tuple[str, int]:
    """Returns HOST and PORT of a --coordinator flag."""
    host, _, port = flag.rpartition(":")
    if not host or not port.isdecimal() or len(port) > 5 or not 0 < int(port) < 65536:
        raise UserError(f"--coordinator={flag}: expected HOST:PORT of process 0, such as 10.0.0.1:8476")
    return host.strip("[]"), int(port)


def is_loopback(flag: str) -> bool:
    """Returns True if a --coordinator flag names a loopback address, which no other machine can reach."""
    host, _ = split_address(flag)
    return host in ("localhost", "::1") or host.startswith("127.")


def expects_others(coordinator: str | None, processes: int | None, process: int | None) -> bool:
    """Returns True if this process is one of several, after checking the flags of a multi-process run.

    Raises:
      UserError: the flags, or the time limits in the environment, are incomplete or wrong.
    """
    if coordinator is None and processes is None and process is None:
        return _in_cluster()
    if coordinator is None or processes is None or process is None:
        raise UserError("--coordinator, --processes and --process belong together: give all three, or none")
    split_address(coordinator)
    if processes < 1:
        raise UserError(f"--processes={processes}: expected the number of processes, at least 1")
    if not 0 <= process < processes:
        raise UserError(f"--process={process}: expected 0 to {processes - 1} (--processes={processes})")
    heartbeat_seconds(), start_seconds()
    return True


def reach(host: str, port: int, timeout: float) -> str:
    """Tries to open a TCP connection once. Returns the error, or an empty string if the connection succeeded."""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as e:
        return str(e)
    return ""


def in_use(port: int) -> bool:
    """Returns True if a program on this machine already listens at `port`."""
    dual = socket.has_dualstack_ipv6()  # JAX listens at every IPv4 and IPv6 address
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=dual).close()
    except OSError as e:  # JAX will report any other error
        return e.errno == errno.EADDRINUSE
    return False


def await_port(host: str, port: int, limit: float) -> str:
    """Retries a TCP connection for `limit` seconds. Returns the last error, or an empty string once it succeeds."""
    end = time.monotonic() + limit
    while obstacle := reach(host, port, max(0.1, min(5.0, end - time.monotonic()))):
        if time.monotonic() >= end:
            return obstacle
        time.sleep(0.2)
    return ""


def verdict(code: int, name: str, where: str) -> tuple[int, str]:
    """Returns the exit code and the last message for a child that has ended.

    Args:
      code: exit code of the child; negative for a signal.
      name: "process 1 of 2" once the child has joined the others; empty before.
      where: description of the coordinator's address.
    """
    if code >= 0:
        return code, ""
    if -code == signal.SIGABRT and not name:
        return FAILED, (
            f"could not join the other processes at {where} within {start_seconds()} s. Start the same command on "
            f"every machine, each with its own --process; moral-jax doctor --coordinator=HOST:PORT checks the address"
        )
    if -code == signal.SIGABRT:
        return LOST, f"{name}: lost another process of this run (JAX aborted: see the lines above). {LOST_HINT}"
    who, signal_name = name or "this process", signal.Signals(-code).name
    cause = " (sent by a user, the scheduler, or the system when out of memory)" if -code == signal.SIGKILL else ""
    return 128 - code, f"{who}: was ended by {signal_name}{cause}"


def _die_with_supervisor(supervisor: socket.socket) -> None:
    """Kills the child when its supervisor has died: to kill the supervisor is to kill the run."""
    with contextlib.suppress(ConnectionResetError):  # raised if the supervisor died before reading the child's name
        supervisor.recv(1)  # the supervisor never sends, so this returns when its end is closed
    os.kill(os.getpid(), signal.SIGKILL)


def report_joined(name: str) -> None:
    """Tells the supervisor, if there is one, that the other processes were joined, and this process's name."""
    if _supervisor:
        _supervisor.sendall(name.encode())


def _read_name(child: socket.socket) -> str:
    """Returns the name that the child has reported, or an empty string."""
    child.setblocking(False)
    try:
        return child.recv(100).decode()
    except BlockingIOError:
        return ""


def fork_supervisor(where: str) -> None:
    """Forks, and returns only in the child. The parent waits for it, reports for it, and exits with its code.

    Args:
      where: description of the coordinator's address, for the message.
    """
    global _supervisor
    sys.stdout.flush()
    sys.stderr.flush()
    parent_end, child_end = socket.socketpair()
    child = os.fork()
    if child == 0:
        parent_end.close()
        _supervisor = child_end
        threading.Thread(target=_die_with_supervisor, args=(child_end,), daemon=True).start()
        return
    child_end.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the child directly
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))  # the child decides when to stop
    _, status = os.waitpid(child, 0)
    code, line = verdict(os.waitstatus_to_exitcode(status), _read_name(parent_end), where)
    if line:
        print(f"error: {line}", file=sys.stderr, flush=True)
    sys.exit(code)
