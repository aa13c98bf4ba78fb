"""A guardian in front of each of several processes. No jax: it forks, which must come before any thread is started.

When JAX loses another process, or never finds it, it aborts the process that notices, from C++, past every `except`.
So the work is done in a child; its parent stays, and says in one line and an exit code what the child no longer can.
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

DIGITS = 6  # of a time limit: eleven days
# Exit codes: a user's mistake; another process is gone; a disk that is full or broken (EX_IOERR); Ctrl-C; SIGTERM
FAILED, LOST, STORAGE, STOPPED, ENDED = 2, 3, 74, 130, 143
LOST_HINT = "Look at its log for the cause; the same command on all machines resumes from the last checkpoint"

_guardian: socket.socket | None = None  # in the child: the way to its parent


def seconds(variable: str, default: int) -> int:
    """A time limit, which an environment variable may change."""
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or len(text) > DIGITS or int(text) < 1:
        raise UserError(f"{variable}={text}: expected whole seconds, at least 1, of {DIGITS} digits at most")
    return int(text)


def preempted_code() -> int:
    """Exit code of a run that was told to end, has saved, and can go on: 0, unless who started it wants to know."""
    text = os.environ.get("MORAL_JAX_PREEMPTED_EXIT", "0")
    if not text.isdecimal() or int(text) > 255:
        raise UserError(f"MORAL_JAX_PREEMPTED_EXIT={text}: expected an exit code, 0 to 255")
    return int(text)


def heartbeat_seconds() -> int:
    """Without a sign of life for so long, a process counts as dead and all others stop."""
    return seconds("MORAL_JAX_HEARTBEAT_SECONDS", 60)


def start_seconds() -> int:
    """So long do processes wait for each other at the start: machines boot at different times."""
    return seconds("MORAL_JAX_START_SECONDS", 300)


def _in_cluster() -> bool:
    """Whether JAX can find its peers by itself: on Cloud TPU, and under Slurm with more than one task."""
    # the script of a batch job has SLURM_NTASKS too, but is one process; only what srun starts belongs to a step
    slurm = "SLURM_STEP_NODELIST" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1
    chips = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    return slurm or bool(chips and importlib.util.find_spec("libtpu"))


def split_address(flag: str) -> tuple[str, int]:
    """HOST and PORT of a --coordinator flag."""
    host, _, port = flag.rpartition(":")
    if not host or not port.isdecimal() or len(port) > 5 or not 0 < int(port) < 65536:
        raise UserError(f"--coordinator={flag}: expected HOST:PORT of process 0, such as 10.0.0.1:8476")
    return host.strip("[]"), int(port)


def is_loopback(flag: str) -> bool:
    """Whether a --coordinator flag names an address that no other machine can reach."""
    host, _ = split_address(flag)
    return host in ("localhost", "::1") or host.startswith("127.")


def expects_others(coordinator: str | None, processes: int | None, process: int | None) -> bool:
    """Whether this process is one of several; checks the flags that say so.

    Raises:
      UserError: flags are incomplete or wrong.
    """
    given = [flag is not None for flag in (coordinator, processes, process)]
    if not any(given):
        return _in_cluster()
    if not all(given):
        raise UserError("--coordinator, --processes and --process belong together: give all three, or none")
    split_address(coordinator)
    if processes < 1:
        raise UserError(f"--processes={processes}: expected how many processes there are, at least 1")
    if not 0 <= process < processes:
        raise UserError(f"--process={process}: expected 0 to {processes - 1} (--processes={processes})")
    heartbeat_seconds(), start_seconds()
    return True


def reach(host: str, port: int, timeout: float) -> str:
    """Tries to open a TCP connection once: what went wrong, or nothing."""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as e:
        return str(e)
    return ""


def in_use(port: int) -> bool:
    """Whether something on this machine listens at `port` already."""
    dual = socket.has_dualstack_ipv6()  # JAX listens at every address of both kinds
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=dual).close()
    except OSError as e:  # any other: JAX will say what it needs
        return e.errno == errno.EADDRINUSE
    return False


def await_port(host: str, port: int, limit: float) -> str:
    """The same until it works or `limit` seconds are over."""
    end = time.monotonic() + limit
    while obstacle := reach(host, port, max(0.1, min(5.0, end - time.monotonic()))):
        if time.monotonic() >= end:
            return obstacle
        time.sleep(0.2)
    return ""


def verdict(code: int, name: str, where: str) -> tuple[int, str]:
    """Exit code and last line for a child that ended with `code`, negative for a signal.

    Args:
      name: "process 1 of 2", once it has joined the others; empty before.
      where: the coordinator's address, in words.
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
    who, ended = name or "this process", signal.Signals(-code).name
    memory = ": by a person, the scheduler, or the system for want of memory" if -code == signal.SIGKILL else ""
    return 128 - code, f"{who}: was ended by {ended}{memory}"


def _follow(guardian: socket.socket) -> None:
    """In the child: whoever kills the guardian means the work."""
    with contextlib.suppress(ConnectionResetError):  # so it ends when the other end has not read what `joined` sent
        guardian.recv(1)  # nothing ever comes: it returns when the other end is gone
    os.kill(os.getpid(), signal.SIGKILL)


def report_joined(name: str) -> None:
    """Tells the guardian, where there is one, that the others were found, and this process's name among them."""
    if _guardian:
        _guardian.sendall(name.encode())


def _heard(child: socket.socket) -> str:
    child.setblocking(False)
    try:
        return child.recv(100).decode()
    except BlockingIOError:
        return ""


def fork_supervisor(where: str) -> None:
    """Forks. Returns in the child alone; the parent waits for it, speaks for it, and exits as it did."""
    global _guardian
    sys.stdout.flush()
    sys.stderr.flush()
    mine, childs = socket.socketpair()
    child = os.fork()
    if child == 0:
        mine.close()
        _guardian = childs
        threading.Thread(target=_follow, args=(childs,), daemon=True).start()
        return
    childs.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the child as well
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))  # the child knows when it can end
    _, status = os.waitpid(child, 0)
    code, line = verdict(os.waitstatus_to_exitcode(status), _heard(mine), where)
    if line:
        print(f"error: {line}", file=sys.stderr, flush=True)
    sys.exit(code)
