"""Memory that a process takes, gives back, and takes again. No jax."""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h> of glibc
NONE, NEVER = 0, -1


def keep_pages() -> None:
    """Freed blocks stay with this process, to be taken again, where the C library is glibc.

    On a CPU a step takes over a GB of temporaries and frees them at its end. By itself glibc gives blocks of this size
    back to the kernel at once, which then clears the same pages anew for every step: a fifth of a step's time. Blocks
    that other threads than the main one take are given back as ever. glibc's own environment variables have the last
    word.
    """
    if platform.libc_ver()[0] != "glibc" or any(n.startswith("MALLOC_") or n == "GLIBC_TUNABLES" for n in os.environ):
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, NONE)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
