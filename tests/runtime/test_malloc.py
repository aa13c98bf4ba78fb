"""Pages that stay: a large block freed and taken again is no work for the kernel; but not what a compiler left."""

import platform
import subprocess
import sys

import pytest

FREED = """
from moral_jax.runtime import malloc
def rss():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) >> 10
if malloc.is_ours():
    malloc.keep_pages()
block = b"x" * (256 << 20)
del block
first = rss()
malloc.give_back_pages()
print(first, rss())
"""
COMPILED = """
import jax
from moral_jax.runtime import jax_setup, malloc
calls = []
malloc.give_back_pages = lambda: calls.append(1)
jax_setup.LONG_COMPILATION = 0.0
jax_setup.configure()
jax_setup.configure()
jax.jit(lambda x: x + 1)(1.0)
assert len(calls) == 1, calls
"""
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc can be told")


def run_python(program: str, **env: str) -> str:
    args = [sys.executable, "-c", program]
    return subprocess.run(args, env=env, capture_output=True, text=True, check=True).stdout


def rss_mib(**env: str) -> list[int]:
    """Of a process that took 256 MiB and freed them, and after it gave them back."""
    return [int(word) for word in run_python(FREED, **env).split()]


def test_freed_pages_stay_until_given_back():
    kept, given_back = rss_mib()
    assert kept > 256
    assert given_back < 128


@pytest.mark.parametrize("told", [{"MALLOC_ARENA_MAX": "4"}, {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}])
def test_environment_has_the_last_word(told):
    assert max(rss_mib(**told)) < 128


def test_what_a_compiler_left_is_given_back(tmp_path):
    run_python(COMPILED, JAX_PLATFORMS="cpu", MORAL_JAX_CACHE=str(tmp_path))
