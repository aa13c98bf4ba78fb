"""Reads files of rows for tests."""

from pathlib import Path

from moral_jax.config.task import TaskConfig
from moral_jax.tasks import reading
from moral_jax.types import Example


def of_task(name: str, path: Path) -> list[Example]:
    """Returns the examples of a file in a task's format."""
    return list(reading.read(str(path), TaskConfig(name=name)).examples)


def dilemmas(path: Path) -> list[Example]:
    """Returns the examples of a DILEMMAS file."""
    return of_task("dilemmas", path)
