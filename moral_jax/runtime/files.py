"""Writes files atomically, explains storage errors, and locks run directories.

`atomic_writer` writes to a temporary name, syncs it to disk, and renames it: a file that exists is complete.
`storage_errors` turns an OSError while writing into a StorageError, which names the path and a remedy from `REMEDIES`.
`lock` uses the kernel's `flock`, so a lock is free as soon as the processes that hold it are gone.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from moral_jax.types import StorageError, UserError

PARTIAL = ".partial"  # suffix of a file's name while it is written
REMEDIES = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space, or have your quota raised",
    errno.EFBIG: "Raise the file size limit (ulimit -f)",
    errno.EROFS: "Make it writable",
    errno.EACCES: "Make it writable for your user",
    errno.EPERM: "Make it writable for your user",
    errno.EIO: "Check the system log for disk errors",
    errno.ESTALE: "Check that the shared disk is still mounted",
}
NO_PERMISSION = (errno.EACCES, errno.EPERM)
RESUME = "run the same command to resume"


def storage_error(error: OSError, path: object = None) -> StorageError:
    """Returns the StorageError for an OSError, with the path, the reason and a remedy."""
    remedy = REMEDIES.get(error.errno or 0, "Check the disk")
    where = path or error.filename or "a file of the run"
    return StorageError(f"{where}: {error.strerror or error}. No existing file was changed. {remedy}, then {RESUME}")


def is_of_storage(error: OSError) -> bool:
    """Returns True if the disk caused the error.

    Missing permissions are excluded. For reading, they usually mean that the user gave a wrong path; for writing,
    `storage_errors` reports them.
    """
    return error.errno in REMEDIES and error.errno not in NO_PERMISSION


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns an OSError raised inside the block into a StorageError that names `path`."""
    try:
        yield
    except OSError as e:
        raise storage_error(e, path) from e


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[TextIO]:
    """Yields a text file with a temporary name, which is renamed to `path` once it is complete on disk.

    A file that exists is therefore complete, even after a power failure.

    Raises:
      StorageError: the file cannot be written.
    """
    with _atomically(path, "w", "utf-8") as f:
        yield f


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file as `atomic_writer` does."""
    with _atomically(path, "wb", None) as f:
        f.write(content)


@contextlib.contextmanager
def _atomically(path: Path, mode: str, encoding: str | None) -> Iterator[Any]:
    partial = path.with_name(path.name + PARTIAL)
    with storage_errors(path):
        try:
            with partial.open(mode, encoding=encoding) as f:
                yield f
                f.flush()
                os.fsync(f.fileno())
            partial.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()  # it would take space on a full disk
            raise


def remove_partial(folder: Path) -> None:
    """Removes what a kill has left of files that were being written, in a folder that nobody else writes to."""
    for path in [*folder.glob(f"*{PARTIAL}"), *folder.glob(f"*/*{PARTIAL}")]:
        with storage_errors(path):
            path.unlink()


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    with atomic_writer(path) as f:
        f.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes JSON lines, whole or not at all."""
    with atomic_writer(path) as f:
        f.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def remove_folder(path: Path) -> None:
    """Removes a directory and its contents."""
    with storage_errors(path):
        shutil.rmtree(path)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[int | None]:
    """Tries to take a lock; yields the open file descriptor, or None if another process has the lock.

    The kernel keeps the lock (`flock`). It belongs to every process that has inherited the open file, and is released
    when all of them have ended, in whatever way. No timeout has to guess whether they are alive.

    Raises:
      OSError: the file system does not support locks.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        acquired = _try_lock(file)
        if acquired:
            os.ftruncate(file, 0)
            os.pwrite(file, f"{socket.gethostname()}, process {os.getpid()}".encode(), 0)
        yield file if acquired else None
    finally:
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def owner(path: Path) -> str:
    """Returns a description of the process that holds a lock."""
    return path.read_text(encoding="utf-8") or "another process"


def cache_folder() -> Path:
    """Returns $MORAL_JAX_CACHE, or else the folder moral_jax in the user's cache folder."""
    if chosen := os.environ.get("MORAL_JAX_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "moral_jax"
    return expanded("~/.cache") / "moral_jax"


def expanded(path: str | Path) -> Path:
    """Returns a path with "~" replaced by the user's home.

    Raises:
      UserError: the user has none, as in some containers and batch systems.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: this user has no home; set HOME, or MORAL_JAX_CACHE=FOLDER for the cache") from None


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
