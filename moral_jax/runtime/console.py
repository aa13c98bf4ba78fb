"""Writes messages, errors and progress bars to the terminal, without secrets."""

import sys
from typing import Any

from tqdm import tqdm

from moral_jax.runtime import secrets

LONGEST = 1500  # characters of a line of an error message
MOST_LINES = 40  # of one message: room for twenty bad rows
_speaks = True  # False in all but one process of a multi-process run


def mute() -> None:
    """Turns off messages and progress bars in this process for good."""
    global _speaks
    _speaks = False


def info(message: str) -> None:
    """Prints a line above any progress bar, at once: whoever follows a log sees how far the work is."""
    if _speaks:
        tqdm.write(secrets.redacted(message))
        sys.stdout.flush()


def _shortened(line: str) -> str:
    """Returns a line without its middle if it is long."""
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def error(message: str) -> None:
    """Prints an error to stderr, without secrets and terminal control characters; long lines lose their middle."""
    lines = secrets.redacted(message).split("\n")
    message = "\n".join(map(_shortened, [*lines[: MOST_LINES - 1], *lines[MOST_LINES - 1 :][-1:]]))
    print("error: " + "".join(c if c.isprintable() or c == "\n" else "?" for c in message), file=sys.stderr)


def progress(*args: Any, **kwargs: Any) -> tqdm:
    """Returns a tqdm progress bar; takes the arguments of tqdm."""
    return tqdm(*args, **kwargs, **({} if _speaks else {"disable": True}))
