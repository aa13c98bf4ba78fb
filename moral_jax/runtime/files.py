"""Files that are whole or not there, and locks that nobody dead holds."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from moral_jax.types import StorageError

PARTIAL = ".partial"  # what a name ends with while its file is written
REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable for you",
    errno.EPERM: "make it writable for you",
    errno.EIO: "see what the system's log says of the disk",
    errno.ESTALE: "see whether the shared disk is still there",
}
MAY_NOT = (errno.EACCES, errno.EPERM)
AGAIN = "the same command goes on from there"


def storage_error(error: OSError, path: object = None) -> StorageError:
    """What a disk refused, where, and what to do about it."""
    remedy = REMEDIES.get(error.errno, "see what is wrong with the disk")
    where = path or error.filename or "a file of the run"
    return StorageError(
        f"{where}: {error.strerror or error}. What was there before is untouched: {remedy}, then {AGAIN}"
    )


def is_of_storage(error: OSError) -> bool:
    """Whether a disk is at fault, wherever it showed. What may not be read is rather a name that the user gave; what
    may not be written, `refusals` tells."""
    return error.errno in REMEDIES and error.errno not in MAY_NOT


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Around writing to `path`: what the system says becomes a StorageError that names it."""
    try:
        yield
    except OSError as e:
        raise storage_error(e, path) from e


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[TextIO]:
    """Opens a text for writing under another name, which becomes `path` once all of it is on the disk: a file that
    exists is whole, even if the machine stops."""
    partial = path.with_name(path.name + PARTIAL)
    with storage_errors(path):
        try:
            with partial.open("w", encoding="utf-8") as f:
                yield f
                f.flush()
                os.fsync(f.fileno())
            partial.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()  # on a full disk it is in the way
            raise


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all."""
    with atomic_writer(path) as f:
        f.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def remove_folder(path: Path) -> None:
    """Removes a directory with all that is in it."""
    with storage_errors(path):
        shutil.rmtree(path)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[int | None]:
    """Takes a lock: an open file, or None where another process has it.

    The lock is the kernel's. It belongs to every process that has the file open, as a child does that was given it: it
    is free when all of them are gone, however they went, and nobody has to guess from a clock whether they live.

    Raises:
      OSError: this disk keeps no locks.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        taken = _try_lock(file)
        if taken:
            os.ftruncate(file, 0)
            os.pwrite(file, f"{socket.gethostname()}, process {os.getpid()}".encode(), 0)
        yield file if taken else None
    finally:
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def owner(path: Path) -> str:
    """Who holds a lock, in words."""
    return path.read_text(encoding="utf-8") or "another process"


def cache_folder() -> Path:
    """$MORAL_JAX_CACHE, or moral_jax under the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MORAL_JAX_CACHE") or Path(base) / "moral_jax")


def sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
