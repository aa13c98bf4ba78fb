"""Configures JAX in this process: a cache of compiled programs on disk, and reuse of memory on CPUs."""

import functools
import os

import jax

from moral_jax.runtime import malloc
from moral_jax.runtime.files import cache_folder
from moral_jax.types import UserError

NO_DEVICES = (RuntimeError, AssertionError)  # what JAX raises where it finds none
LONG_COMPILATION = 1.0  # seconds; shorter compilations leave little memory behind
GPU_SHARE = 0.92  # of a GPU's memory that JAX takes, whose own default is 0.75; the rest is for CUDA, cuDNN and NCCL


def no_devices(error: BaseException) -> tuple[str, str]:
    """Returns what is wrong where JAX finds no device of the platforms that it is told to use, and the remedy."""
    said = (str(error).strip().splitlines() or ["no such device or plugin"])[0]
    remedy = "unset JAX_PLATFORMS, or install the plugin: pip install -e '.[gpu]' or '.[tpu]'"
    return f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}: JAX finds no device ({said})", remedy


def configure() -> None:
    """Configures JAX. Must be called before the first computation. JAX's environment variables take precedence.

    Compiled programs are cached on disk, so that a second start does not compile again. On a CPU, a step runs in the
    calling thread and reuses the memory of the previous step. On a GPU, JAX takes `GPU_SHARE` of the memory.
    """
    settings = {
        "jax_compilation_cache_dir": str(cache_folder() / "xla"),
        "jax_persistent_cache_min_compile_time_secs": 0.5,
        # with asynchronous dispatch, queued steps already hold their temporaries, as much each as the running step, and
        # none in the same memory
        "jax_cpu_enable_async_dispatch": False,
    }
    for name, value in settings.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(GPU_SHARE))
    try:
        backend = jax.default_backend()
    except NO_DEVICES as e:
        raise UserError("; ".join(no_devices(e))) from e
    if backend == "cpu" and malloc.is_ours():
        _reuse_memory()


@functools.cache  # registers the listener only once
def _reuse_memory() -> None:
    """Makes malloc keep freed pages, except those of long compilations."""

    def on_event(event: str, duration_secs: float, **_: object) -> None:
        # return the compiler's freed pages before the program allocates its temporaries
        if event == "/jax/core/compile/backend_compile_duration" and duration_secs > LONG_COMPILATION:
            malloc.give_back_pages()

    malloc.keep_pages()
    jax.monitoring.register_event_duration_secs_listener(on_event)
