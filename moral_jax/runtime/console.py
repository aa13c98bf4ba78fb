"""What a run says while it runs: lines on the terminal, `metrics.jsonl`, and TensorBoard events."""

import sys
from typing import Any

from tqdm import tqdm

from moral_jax.runtime import secrets

LONGEST = 1500  # characters of an error
_speaks = True  # of several processes that run together, one does


def mute() -> None:
    """Silences lines and bars of this process for good."""
    global _speaks
    _speaks = False


def info(message: str) -> None:
    """One line for the person, above any progress bar."""
    if _speaks:
        tqdm.write(secrets.redacted(message))


def error(said: str) -> None:
    """An error: without keys and tokens, or what would steer a terminal; of a text without end, its two ends."""
    said = secrets.redacted(said)
    if len(said) > LONGEST:
        said = f"{said[: LONGEST // 2]} ... {said[-LONGEST // 2 :]}"
    print("error: " + "".join(c if c.isprintable() or c == "\n" else "?" for c in said), file=sys.stderr)


def progress(*args: Any, **kwargs: Any) -> tqdm:
    """A progress bar: tqdm's own arguments."""
    return tqdm(*args, **kwargs, **({} if _speaks else {"disable": True}))
