"""Tests disks that become full, read-only or forbidden during a run: a clear error, and the last step is safe."""

import contextlib
import re
import resource
import subprocess

import pytest

from moral_jax.runtime import supervisor
from moral_jax.train import manifest
from tests.faults.conftest import assert_same_run

SIZE = 24 << 20  # bytes of the small disk


def stalled(runs, folder, file):
    """Starts a run that saves some steps and then waits."""
    process = runs.start(folder, {"at": "step", "count": 6, "do": "stall", "file": str(file)})
    process.wait_until(file.with_suffix(".here").exists)
    process.wait_until(lambda: bool(manifest.steps(folder / "checkpoints")))
    return process


def assert_clear_end(process, folder, place):
    """Checks exit code 74, one line that names place and remedy, and a readable last step."""
    code, _, err = process.finish()
    assert code == supervisor.STORAGE, err
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, err
    assert str(place) in errors[0]
    assert "the same command" in errors[0]
    assert "Traceback" not in err
    there = manifest.steps(folder / "checkpoints")
    assert there
    assert manifest.read(folder / "checkpoints", there[-1]).progress.step == there[-1]


@contextlib.contextmanager
def small_disk(folder):
    """Mounts a disk of SIZE bytes; yields false if this user may not mount."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file):
    """Writes until the disk is full."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as f:
        while True:
            f.write(bytes(1 << 16))


@pytest.mark.fault(
    "a disk that is full in the middle of a run (a tmpfs; a limit on the size of files where none can be mounted)",
    promise="exit code 74, the place and the remedy named, the last good step kept; with room again, bit for bit",
)
def test_full_disk(runs, whole, tmp_path):
    with small_disk(tmp_path / "disk") as mounted:
        folder, file = tmp_path / "disk" / "r", tmp_path / "stall"
        process = stalled(runs, folder, file)
        if mounted:
            fill(tmp_path / "disk" / "filler")
        else:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        file.with_suffix(".go").touch()
        assert_clear_end(process, folder, folder)
        (tmp_path / "disk" / "filler").unlink(missing_ok=True)
        code, _, err = runs.run(folder)
        assert code == 0, err
        assert_same_run(folder, whole)


@pytest.mark.fault(
    "permission to write the checkpoints lost in the middle of a run",
    promise="exit code 74, the place and the remedy named, the last good step kept",
)
def test_permission_lost(runs, tmp_path):
    folder, file = tmp_path / "r", tmp_path / "stall"
    process = stalled(runs, folder, file)
    (folder / "checkpoints").chmod(0o555)
    file.with_suffix(".go").touch()
    assert_clear_end(process, folder, folder / "checkpoints")
    (folder / "checkpoints").chmod(0o755)


@pytest.mark.fault(
    "a directory that may not be written to",
    promise="exit code 74 before anything is computed, the place and the remedy named",
)
def test_read_only(runs, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    code, out, err = runs.run(closed / "r", {"at": "start", "count": 1, "do": "kill"})
    assert (code, out) == (supervisor.STORAGE, "")
    assert re.fullmatch(
        rf"error: {closed}/r: Permission denied.* Make it writable for your user, .*the same command.*\n", err
    ), err
