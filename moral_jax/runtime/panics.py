"""Panics of Rust code. No jax."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def as_errors() -> Iterator[None]:
    """Turns a panic inside the block into a RuntimeError: to Python it is no Exception, and has no public name."""
    try:
        yield
    except BaseException as e:
        if type(e).__name__ != "PanicException":
            raise
        raise RuntimeError(f"panic: {e}") from None
