"""Helpers to damage one file of a tiny model and to ask the model."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.bad_input.refusal import Case, Refusal

QUESTION = "Was it wrong? | yes | no\n"
FLAGS = ("--config.prompt.family=plain", "--config.data.length=64", "--config.model.unroll=1")


def copy(source: Path, folder: Path) -> Path:
    """Copies a model folder; returns the copy."""
    return Path(shutil.copytree(source, folder, copy_function=shutil.copy2))


def change(file: Path, **changes: Any) -> None:
    """Changes fields of a JSON file; None removes a field."""
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def ask(refused: Refusal, case: Case, model: Path, *flags: str) -> str:
    """Runs `moral-jax score` with a damaged model; returns the message."""
    (refused.folder / "q.txt").write_text(QUESTION)
    return refused(
        case, "ask", f"--model={model}", str(refused.folder / "q.txt"), *FLAGS, *flags, run=refused.folder / "cache"
    )
