"""Configs as flat names and as JSON files, and what differs between two."""

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moral_jax.config.build import from_dict
from moral_jax.config.experiment import Config
from moral_jax.runtime import files, strict_json
from moral_jax.types import UserError

# What a run may go on with otherwise than it began, as no number depends on it: a run may change machines.
FREE = ("mesh.", "model.load_piece_mb", "train.checkpoint_")


def _leaves(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and annotation of every field."""
    for name, annotation in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(annotation):
            yield from _leaves(annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, annotation


FIELDS: dict[str, Any] = dict(_leaves(Config))


def flatten(config: Config) -> dict[str, Any]:
    """{"optim.lr": 3e-05, ...}."""
    values = {}
    for name in FIELDS:
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        values[name] = value
    return values


def difference(old: Config, new: Config) -> list[str]:
    """One line per field that differs, those in which a run may go on otherwise left out."""
    a, b = flatten(old), flatten(new)
    names = [name for name in FIELDS if not name.startswith(FREE)]
    return [f"{name}: {a[name]!r} -> {b[name]!r}" for name in names if a[name] != b[name]]


def save(config: Config, path: Path) -> None:
    """Writes JSON."""
    files.write_json(path, dataclasses.asdict(config))


def read(path: Path) -> Config:
    """Reads what `save` wrote; fields that did not exist then take their defaults."""
    saved = strict_json.read(path)
    try:
        return from_dict(saved)
    except UserError as e:
        raise UserError(f"{path}: not a config that this version can read ({e}); put back what the run wrote") from e
