"""Files that are whole or as they were, and locks that end with their owner."""

import os
import subprocess
import sys

import pytest

from moral_jax.runtime import files
from moral_jax.types import StorageError

HOLDS = """
import sys, time
from pathlib import Path
from moral_jax.runtime import files
with files.lock(Path(sys.argv[1])) as taken:
    print(taken is not None, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_file_is_whole_or_as_it_was(tmp_path, error):
    path = tmp_path / "x.json"
    files.write_json(path, {"n": 1})
    with pytest.raises((KeyboardInterrupt, StorageError)), files.atomic_writer(path) as f:  # noqa: PT012
        f.write("half of ")
        f.flush()
        raise error
    assert path.read_text() == '{\n  "n": 1\n}\n'
    files.write_json(path, {"n": 2})
    assert path.read_text() == '{\n  "n": 2\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_ends_with_its_owner(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        try:
            with files.lock(path) as mine:
                assert mine is None
            assert files.owner(path).endswith(f", process {other.pid}")
        finally:
            other.kill()
    with files.lock(path) as mine:
        assert mine is not None
        with files.lock(path) as again:
            assert again is None
    assert files.owner(path).endswith(f", process {os.getpid()}")
