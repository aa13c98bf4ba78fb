"""A folder with a tiny model, to be spoilt one file at a time, and how it is asked."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.bad_input.refusal import Case, Refusal

QUESTION = "Was it wrong? | yes | no\n"
FLAGS = ("--config.prompt.family=plain", "--config.data.length=64", "--config.model.unroll=1")


def copy(source: Path, folder: Path) -> Path:
    """The same model elsewhere; big files are links of the kind that make no copy."""
    return Path(shutil.copytree(source, folder, copy_function=shutil.copy2))


def change(file: Path, **changes: Any) -> None:
    """Changes fields of a JSON file; None takes one away."""
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def ask(refused: Refusal, case: Case, model: Path, *flags: str) -> str:
    """`moral-jax score` with a model that is spoilt."""
    (refused.folder / "q.txt").write_text(QUESTION)
    return refused(
        case, "score", f"--model={model}", str(refused.folder / "q.txt"), *FLAGS, *flags, run=refused.folder / "cache"
    )
