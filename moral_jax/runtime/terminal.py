"""Output that survives the end of its reader (`command | head -1`, a closed terminal) and any encoding. No jax."""

import errno
import io
import os
import sys
import unicodedata
from typing import Any

from moral_jax.runtime.strict_json import visible

GONE = (errno.EPIPE, errno.EIO)  # the other end of a pipe, or the terminal, is there no longer


class _Output(io.RawIOBase):
    """A file descriptor that becomes /dev/null once nobody reads it: a run goes on, for hours maybe."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def write(self, data: Any) -> int:
        try:
            return os.write(self.descriptor, data)
        except OSError as e:
            if e.errno not in GONE:
                raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.descriptor)
        os.close(nowhere)
        return len(data)


def knows_all(stream: Any) -> bool:
    """Returns true for a text stream that can say every character."""
    return (stream.encoding or "").lower().replace("-", "") in ("utf8", "utf_8")


def outlived(stream: Any) -> Any:
    """Returns a text stream to the same place, which no reader and no character can end."""
    raw = io.BufferedWriter(_Output(stream.fileno()))
    how = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
    return io.TextIOWrapper(raw, stream.encoding, errors="replace", **how)


def outlive() -> None:
    """Replaces the process's output and errors, unless somebody else has, so that neither can end the process."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream is getattr(sys, f"__{name}__"):
            stream.flush()
            setattr(sys, name, outlived(stream))


def printable(text: str) -> str:
    """Returns a text without what would tell a terminal to do something, or to show it in another order."""
    text = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) == "Cc" and c != "\n" else c for c in text)
    return visible(text)
