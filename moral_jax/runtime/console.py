"""Writes messages, errors and progress bars to the terminal, without secrets."""

import sys
from typing import Any

from tqdm import tqdm

from moral_jax.runtime import secrets

LONGEST = 1500  # characters of an error message
_speaks = True  # False in all but one process of a multi-process run


def mute() -> None:
    """Turns off messages and progress bars in this process for good."""
    global _speaks
    _speaks = False


def info(message: str) -> None:
    """Prints a line above any progress bar."""
    if _speaks:
        tqdm.write(secrets.redacted(message))


def error(said: str) -> None:
    """Prints an error to stderr, without secrets and terminal control characters. Cuts the middle of a long message."""
    message = secrets.redacted(said)
    if len(message) > LONGEST:
        message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
    print("error: " + "".join(c if c.isprintable() or c == "\n" else "?" for c in message), file=sys.stderr)


def progress(*args: Any, **kwargs: Any) -> tqdm:
    """Returns a tqdm progress bar; takes the arguments of tqdm."""
    return tqdm(*args, **kwargs, **({} if _speaks else {"disable": True}))
