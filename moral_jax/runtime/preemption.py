"""Notices SIGTERM, which a scheduler sends before it takes the machine away. The run then stops at a safe point."""

import contextlib
import signal
from collections.abc import Iterator

_noticed = False


def _notice(*_: object) -> None:
    global _noticed
    _noticed = True


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Records SIGTERM inside the block instead of ending the process.

    The code inside polls `noticed`; with several processes, they agree through `distributed.AnyProcess`.
    """
    global _noticed
    _noticed = False
    previous = signal.signal(signal.SIGTERM, _notice)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def noticed() -> bool:
    """Returns True if this process has received SIGTERM."""
    return _noticed
