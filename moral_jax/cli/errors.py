"""What ends a command: a user's mistake becomes one message and an exit code, never a traceback."""

import sys
import traceback
from collections.abc import Callable
from types import TracebackType

from moral_jax.runtime import console, files, secrets, supervisor
from moral_jax.types import Preempted, StorageError, UserError


def _print_fault(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Prints the traceback of a fault of ours, without keys and tokens."""
    sys.stderr.write(secrets.redacted("".join(traceback.format_exception(kind, error, trace))))


def _print_unraisable(fault: "sys.UnraisableHookArgs") -> None:
    """Prints a fault that nobody could catch."""
    if str(fault.exc_value) == "Event loop is closed":
        return  # TensorStore, late: whoever waited for the file has reported that it could not be written
    _print_fault(fault.exc_type, fault.exc_value, fault.exc_traceback)


def guarded(command: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit code."""
    sys.excepthook, sys.unraisablehook = _print_fault, _print_unraisable
    try:
        return command() or 0
    except UserError as e:
        console.error(str(e))
        return supervisor.FAILED
    except StorageError as e:
        console.error(str(e))
        return supervisor.STORAGE
    except OSError as e:
        if files.is_of_storage(e):
            console.error(str(files.storage_error(e)))
            return supervisor.STORAGE
        if e.filename is None:  # not about a file that the user could name
            raise
        console.error(f"{e.filename}: {e.strerror}; name another, or correct it")
        return supervisor.FAILED
    except MemoryError as e:
        console.error(f"not enough memory ({e}); lower config.data.length or batch sizes")
        return supervisor.FAILED
    except Preempted as e:
        print(e, file=sys.stderr)
        return supervisor.ENDED
    except KeyboardInterrupt:
        print("stopped; the same command resumes a run from its last checkpoint", file=sys.stderr)
        return supervisor.STOPPED
