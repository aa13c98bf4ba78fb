"""JAX's settings for this process: compiled programs on disk, and memory that is reused."""

import functools
import os

import jax

from moral_jax.runtime import malloc
from moral_jax.runtime.files import cache_folder

LONG_COMPILATION = 1.0  # seconds; shorter ones leave little memory behind


def configure() -> None:
    """Sets JAX up; must come before the first computation. JAX's own environment variables have the last word.

    Compiled programs are kept on disk, so that a second start does not compile again. On a CPU, a step computes in the
    thread that asks for it, and takes the memory that the last one left.
    """
    settings = {
        "jax_compilation_cache_dir": str(cache_folder() / "xla"),
        "jax_persistent_cache_min_compile_time_secs": 0.5,
        # else steps that wait hold their temporaries already: each as much as the one that runs, none in the same place
        "jax_cpu_enable_async_dispatch": False,
    }
    for name, value in settings.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    if jax.default_backend() == "cpu" and malloc.is_ours():
        _reuse_memory()


@functools.cache  # once is enough
def _reuse_memory() -> None:
    def compiled(event: str, seconds: float, **_: object) -> None:
        # return the compiler's freed pages before the program allocates its temporaries
        if event == "/jax/core/compile/backend_compile_duration" and seconds > LONG_COMPILATION:
            malloc.give_back_pages()

    malloc.keep_pages()
    jax.monitoring.register_event_duration_secs_listener(compiled)
