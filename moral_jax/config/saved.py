"""Configs as flat names and as JSON files, and what differs between two."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moral_jax.config.build import from_dict
from moral_jax.config.checks import annotations
from moral_jax.config.experiment import Config
from moral_jax.config.renamed import modernise
from moral_jax.runtime import files, strict_json
from moral_jax.types import UserError

# Fields in which a resumed run may differ from its start, as no number depends on them: a run may change machines.
RESUMABLE_FIELDS = (
    "mesh.",
    "model.load_piece_mb",
    "train.checkpoint_",
    "train.profile_steps",
    "respondent.api_key_env",
    "respondent.concurrency",
    "respondent.timeout",
    "respondent.retries",
)
OF_LOCAL_MODELS = ("model.", "adapter.")  # nothing reads them where something else answers


def _leaves(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted name and annotation of every field."""
    for name, annotation in annotations(cls).items():
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            yield from _leaves(annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, annotation


FIELDS: dict[str, Any] = dict(_leaves(Config))


def flatten(config: Config) -> dict[str, Any]:
    """Returns the values by dotted name: {"optim.lr": 3e-05, ...}; sections of which there are several as dicts."""
    values = {}
    for name in FIELDS:
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        values[name] = [dataclasses.asdict(item) for item in value] if isinstance(value, tuple) else value
    return values


def difference(old: Config, new: Config) -> list[str]:
    """Returns one line per field that differs, RESUMABLE_FIELDS left out."""
    a, b = flatten(old), flatten(new)
    ignored: tuple[str, ...] = RESUMABLE_FIELDS
    if "local" not in (old.respondent.kind, new.respondent.kind):
        ignored += OF_LOCAL_MODELS
    names = [name for name in FIELDS if not name.startswith(ignored)]
    return [f"{name}: {a[name]!r} -> {b[name]!r}" for name in names if a[name] != b[name]]


def save(config: Config, path: Path) -> None:
    """Writes a config as JSON."""
    files.write_json(path, dataclasses.asdict(config))


def read(path: Path) -> Config:
    """Reads what `save` wrote. Fields that did not exist then take their defaults; renamed ones are found.

    Raises:
      UserError: the file is no config that this version can read.
    """
    return parse(strict_json.read(path), str(path))


def parse(values: dict[str, Any], where: str) -> Config:
    """Returns the config of values that `save` wrote, or a checkpoint holds; errors as of `read` name `where`."""
    try:
        return from_dict(modernise(values))
    except UserError as e:
        raise UserError(f"{where}: not a config that this version can read ({e}); put back what the run wrote") from e
