"""SIGTERM: by it a scheduler says that the machine will be gone soon. The work ends at its next safe place."""

import contextlib
import signal
from collections.abc import Iterator

_noticed = False


def _notice(*_: object) -> None:
    global _noticed
    _noticed = True


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Inside, SIGTERM is only noted: who works asks `noticed` (where there may be several: `distributed.Agreement`)."""
    global _noticed
    _noticed = False
    before = signal.signal(signal.SIGTERM, _notice)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def noticed() -> bool:
    """Whether this process was told to end."""
    return _noticed
