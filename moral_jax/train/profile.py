"""A profiler trace of a few training steps."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from moral_jax.runtime import console, distributed

PROFILED_FROM = 3  # steps; the first ones compile


class Profiler:
    """Traces some steps with JAX's profiler, from the third step of this process on."""

    def __init__(self, steps: int, folder: Path):
        self.steps, self.folder = steps, folder
        self.seen, self.running = 0, False

    def before_step(self) -> None:
        """Starts or stops the trace where it is time to."""
        self.seen += 1
        if self.steps and self.seen == PROFILED_FROM and distributed.is_primary():
            jax.profiler.start_trace(self.folder)
            self.running = True
        elif self.running and self.seen == PROFILED_FROM + self.steps:
            self.stop()

    def stop(self) -> None:
        """Writes the trace, if one is being taken."""
        if self.running:
            jax.profiler.stop_trace()
            self.running = False
            console.info(
                f"profile of {self.seen - PROFILED_FROM} steps: {self.folder} (open it with XProf or Perfetto)"
            )


@contextlib.contextmanager
def profiling(steps: int, folder: Path) -> Iterator[Profiler]:
    """Traces some steps, none if `steps` is 0, into a folder; what is being traced is written at the end too."""
    profiler = Profiler(steps, folder)
    try:
        yield profiler
    finally:
        profiler.stop()
