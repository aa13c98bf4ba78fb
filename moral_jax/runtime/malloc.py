"""Configures glibc malloc: keeps freed pages for reuse, or returns them to the kernel. No jax."""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h> of glibc
NONE, NEVER = 0, -1  # no blocks from mmap; never trim


def is_ours() -> bool:
    """Returns True if we may configure malloc: it is glibc's, and the user has not configured it by environment."""
    is_configured = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    return platform.libc_ver()[0] == "glibc" and not is_configured


def keep_pages() -> None:
    """Makes malloc keep freed blocks in this process for reuse.

    On a CPU, a step allocates over 1 GB of temporaries and frees them at its end. By default, glibc returns blocks of
    this size to the kernel at once. The kernel then clears the pages again for every step, which takes a fifth of the
    step time. Only the main thread's blocks are kept; those of other threads are returned as before.
    """
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, NONE)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)


def give_back_pages() -> None:
    """Returns freed pages to the kernel now. Call it after work whose allocations later work cannot reuse."""
    ctypes.CDLL(None).malloc_trim(0)
