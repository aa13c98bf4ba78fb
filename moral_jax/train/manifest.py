"""Manifests: a saved step counts once it has one. It is written last, after the step was read back and verified.

`checkpoints/12/` holds the arrays of step 12, and `checkpoints/12.json`, its manifest, all that is known about them.
"""

import dataclasses
import hashlib
import json
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from moral_jax.runtime import files
from moral_jax.types import StorageError


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of the training loop, beside the training state."""

    step: int = 0
    validated: int = 0  # the last step whose validation is done
    best_step: int | None = None
    best_loss: float | None = None
    without_best: int = 0  # validations since the best
    finished: bool = False


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All that is known about a saved step."""

    progress: Progress
    checksums: dict[str, int]  # by path: "params/decoder/...", "opt_state/..."
    about: dict[str, Any]  # "config", "versions" of libraries, "hashes" of what training began with: `runs.origin`


def _file(folder: Path, step: int) -> Path:
    return folder / f"{step}.json"


def digest(content: dict[str, Any]) -> str:
    """Returns the SHA-256 of a JSON object, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write(folder: Path, seal: Manifest) -> None:
    """Writes or replaces the manifest of a step."""
    content = dataclasses.asdict(seal)
    files.write_json(_file(folder, seal.progress.step), {"sha256": digest(content), "seal": content})


def steps(folder: Path) -> list[int]:
    """Returns the steps that count, in order."""
    return sorted(int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal())


def read(folder: Path, step: int) -> Manifest:
    """Returns the manifest of a step that counts.

    Raises:
      StorageError: the file cannot be read, or is not what was written.
    """
    path = _file(folder, step)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        content = stored["seal"]
        if stored["sha256"] != digest(content):
            raise ValueError("its SHA-256 does not match")
        manifest = Manifest(Progress(**content["progress"]), content["checksums"], content["about"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise StorageError(f"{path}: is damaged ({type(e).__name__}: {e}). {others(folder, step)}") from e
    if (named := manifest.progress.step) != step:
        raise StorageError(f"{path}: is the manifest of step {named}; rename it to {named}.json, and {step} to {named}")
    return manifest


def others(folder: Path, step: int) -> str:
    """Returns what the user can do if a step is damaged."""
    older, later = [s for s in steps(folder) if s < step], [s for s in steps(folder) if s > step]
    if older:
        flags = " or ".join(f"--resume-from={s}" for s in older)
        return f"No other step is used automatically: train.py with {flags} goes on from there and drops later steps"
    again = f"remove {folder} to train from the beginning"
    if later:
        return f"There is no older one: train.py with --resume-from={later[-1]} goes on without it, or {again}"
    return f"There is no other checkpoint: {again}"


def remove(folder: Path, keep: AbstractSet[int | None]) -> None:
    """Removes every step not in `keep`, its manifest first, and what a crash left of steps without a manifest."""
    for step in set(steps(folder)) - keep:
        _file(folder, step).unlink()
    for path in folder.iterdir():
        number = path.name.partition(".")[0]  # Orbax writes 12.orbax-checkpoint-tmp, and renames it
        if path.is_dir() and number.isdecimal() and path.name not in map(str, keep):
            files.remove_folder(path)
