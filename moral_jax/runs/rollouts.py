"""Rollouts on disk: what the model wrote in training, and all that its steps are made of.

RUN/rollouts/000012.jsonl holds the replies as people read them, 000012.npz their tokens and the numbers of each token,
000012.json the seal, which is written last: the hashes of both, the step, the weights that wrote them. A rollout counts
once it is sealed, so that a run that was killed inside it goes on with the very same replies.
"""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moral_jax.runtime import files, strict_json
from moral_jax.types import StorageError, UserError

FOLDER = "rollouts"
# names of what is known of each token: its id, and its log-probability in the distribution that it was drawn from
IDS, DRAWN = "ids", "drawn"


class Line(NamedTuple):
    """A reply, as people read it."""

    id: str  # of the row
    sample: int
    prompt: str
    text: str
    reason: str
    reward: float | None  # the weighted sum
    rewards: dict[str, float | None]


class Rollout(NamedTuple):
    """Replies in the order of their prompts, the samples of a prompt side by side."""

    lines: list[Line]
    tokens: dict[str, list[np.ndarray]]  # by name, an array for each reply: IDS, DRAWN, and columns of `types`


def _paths(folder: Path, number: int) -> tuple[Path, Path, Path]:
    stem = f"{number:06d}"
    return folder / f"{stem}.jsonl", folder / f"{stem}.npz", folder / f"{stem}.json"


def write(folder: Path, number: int, rollout: Rollout, about: dict[str, Any]) -> None:
    """Writes and seals a rollout.

    Args:
      about: what the seal says beside the hashes: step, weights, config. JSON.
    """
    text, numbers, seal = _paths(folder, number)
    with files.storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        seal.unlink(missing_ok=True)
    with files.atomic_writer(text) as f:
        f.writelines(json.dumps(line._asdict(), ensure_ascii=False) + "\n" for line in rollout.lines)
    lengths = np.array([len(ids) for ids in rollout.tokens[IDS]])
    buffer = io.BytesIO()
    np.savez(buffer, lengths=lengths, **{name: np.concatenate(of) for name, of in rollout.tokens.items()})
    files.write_bytes(numbers, buffer.getvalue())
    hashes = {path.name: files.sha256(path) for path in (text, numbers)}
    files.write_json(seal, {"sha256": hashes, **about})


def about(folder: Path, number: int) -> dict[str, Any] | None:
    """Returns what the seal of a rollout says; None where there is none."""
    _, _, seal = _paths(folder, number)
    return strict_json.read(seal) if seal.exists() else None


def read(folder: Path, number: int) -> Rollout:
    """Reads a sealed rollout.

    Raises:
      StorageError: it is not what was sealed.
    """
    text, numbers, seal = _paths(folder, number)
    stored = strict_json.read(seal)["sha256"]
    for path in (text, numbers):
        if not path.exists() or files.sha256(path) != stored.get(path.name):
            raise StorageError(
                f"{path}: is not what was written there, and the steps of this rollout cannot go on without it; "
                f"train.py with --resume-from=STEP, the step of an earlier checkpoint, writes it again"
            )
    with np.load(numbers, allow_pickle=False) as found:
        ends = np.cumsum(found["lengths"])[:-1]
        tokens = {name: np.split(found[name], ends) for name in found.files if name != "lengths"}
    return Rollout(lines(folder, number), tokens)


def lines(folder: Path, number: int) -> list[Line]:
    """Returns the replies of a rollout. Models write any characters, so lines end at line feeds alone."""
    text, _, _ = _paths(folder, number)
    try:
        return [Line(**json.loads(line)) for line in text.read_text(encoding="utf-8").split("\n")[:-1]]
    except (OSError, ValueError, TypeError) as e:
        raise UserError(f"{text}: is not what a run writes ({type(e).__name__}: {e})") from e


def numbers(folder: Path) -> list[int]:
    """Returns the numbers of all sealed rollouts, in order."""
    return sorted(int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal())


def drop_after(folder: Path, step: int) -> None:
    """Removes the rollouts that were written by the weights after a step, or later ones."""
    for n in numbers(folder):
        if strict_json.read(_paths(folder, n)[2]).get("step", 0) >= step:
            for path in reversed(_paths(folder, n)):  # the seal first
                path.unlink(missing_ok=True)


def packed(rollout: Rollout) -> dict[str, Any]:
    """Returns a rollout as JSON, in which numbers keep every bit."""
    tokens = {name: [values_T.tolist() for values_T in of] for name, of in rollout.tokens.items()}
    return {"lines": [line._asdict() for line in rollout.lines], "tokens": tokens}


def unpacked(sent: dict[str, Any]) -> Rollout:
    """Returns what `packed` was given."""
    tokens = {
        name: [np.array(values, np.int32 if name == IDS else np.float32) for values in of]
        for name, of in sent["tokens"].items()
    }
    return Rollout([Line(**line) for line in sent["lines"]], tokens)
