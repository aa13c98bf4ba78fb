"""Pages that stay: a large block freed and taken again is no work for the kernel."""

import platform
import subprocess
import sys

import pytest

FREED = """
from moral_jax import heap
heap.keep_pages()
block = b"x" * (256 << 20)
del block
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) >> 10)
"""


def rss_mib(**env: str) -> int:
    """Of a process that took 256 MiB and freed them."""
    done = subprocess.run([sys.executable, "-c", FREED], env=env, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told")
def test_freed_pages_stay():
    assert rss_mib() > 256
    assert rss_mib(MALLOC_ARENA_MAX="4") < 128
    assert rss_mib(GLIBC_TUNABLES="glibc.malloc.hugetlb=0") < 128
