"""Processes that are there at once: each forks from one that has imported all that train.py imports."""

import atexit
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path

import jax

# all that train.py imports, sooner or later
import tensorboardX.event_file_writer
import tensorboardX.summary  # noqa: F401  (imports torch, where it is installed)

from moral_jax.cli import train as command  # noqa: F401
from moral_jax.workflows import train as workflow  # noqa: F401  (imported by the command when it is chosen)

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])


def _begin(main: Callable[..., int], arguments: tuple, env: dict[str, str], said: Path, cwd: Path | None) -> None:
    """Becomes the process: its output goes to `said`.out and `said`.err, and its environment holds `env` too."""
    for stream, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(said.with_suffix(suffix), os.O_WRONLY | os.O_CREAT, 0o644), stream)
    os.environ.update(env)
    if cwd:
        os.chdir(cwd)
    # JAX read the environment of the process that imported it
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    seconds = float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    code = main(*arguments)
    atexit._run_exitfuncs()  # which a fork would leave out, and JAX parts from other processes there
    sys.exit(code)


class Forked:
    """A process that runs `main(*arguments)`; used as `subprocess.Popen` is."""

    def __init__(
        self, main: Callable[..., int], arguments: tuple, env: dict[str, str], said: Path, cwd: Path | None = None
    ):
        self.said = said
        self.process = FORKS.Process(target=_begin, args=(main, arguments, env, said, cwd), daemon=True)
        self.process.start()
        self.pid, self.kill = self.process.pid, self.process.kill

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Waits for the end; returns output and errors."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still there after {timeout} s"
        out, err = (self.said.with_suffix(suffix).read_text() for suffix in (".out", ".err"))
        return out, err
