"""Output that nobody reads any more, or that knows some characters only, ends nothing."""

import io
import os
import sys

import pytest

from moral_jax.runtime import terminal


def stream_to(descriptor, encoding="utf-8"):
    return io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False), encoding, line_buffering=True)


@pytest.mark.fault("a reader of the output that leaves, as with a pipe to head", promise="the work goes on without it")
def test_a_reader_that_leaves_ends_nothing():
    reads, writes = os.pipe()
    stream = terminal.outlived(stream_to(writes))
    print("first", file=stream)
    assert os.read(reads, 100) == b"first\n"
    os.close(reads)
    for _ in range(3):
        print("more" * 10_000, file=stream, flush=True)
    assert os.readlink(f"/proc/self/fd/{writes}") == os.devnull
    os.close(writes)


@pytest.mark.fault("a terminal that is not UTF-8", promise="characters that it lacks are replaced")
def test_characters_that_an_encoding_lacks_are_replaced():
    reads, writes = os.pipe()
    stream = terminal.outlived(stream_to(writes, "ascii"))
    print("\u2588 \u00e9 \u4e00", file=stream)
    assert os.read(reads, 100) == b"? ? ?\n"
    assert (terminal.knows_all(stream), terminal.knows_all(stream_to(writes))) == (False, True)
    os.close(reads)
    os.close(writes)


def test_only_the_processs_own_streams_are_replaced(monkeypatch):
    """Not those of somebody who listens: a notebook, a test."""
    reads, writes = os.pipe()
    own, others = stream_to(writes), io.StringIO()
    monkeypatch.setattr(sys, "stdout", own)
    monkeypatch.setattr(sys, "__stdout__", own)
    monkeypatch.setattr(sys, "stderr", others)
    terminal.outlive()
    assert sys.stdout is not own
    assert sys.stderr is others
    first = sys.stdout
    terminal.outlive()
    assert sys.stdout is first
    print("said")
    assert os.read(reads, 100) == b"said\n"
    os.close(reads)
    os.close(writes)
