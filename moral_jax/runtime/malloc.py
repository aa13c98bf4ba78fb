"""Memory that a process takes, gives back, and takes again. No jax."""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h> of glibc
NONE, NEVER = 0, -1


def is_ours() -> bool:
    """Whether glibc's malloc is told here what to do; not where its own environment variables do it already."""
    told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    return platform.libc_ver()[0] == "glibc" and not told


def keep_pages() -> None:
    """Freed blocks stay with this process, to be taken again.

    On a CPU a step takes over a GB of temporaries and frees them at its end. By itself glibc gives blocks of this size
    back to the kernel at once, which then clears the same pages anew for every step: a fifth of a step's time. Blocks
    that other threads than the main one take are given back as ever.
    """
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, NONE)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)


def give_back_pages() -> None:
    """Freed pages go back to the kernel now: after work like none that follows."""
    ctypes.CDLL(None).malloc_trim(0)
