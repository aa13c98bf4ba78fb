"""Builds the frozen `Config` from nested dicts of values."""

import dataclasses
import typing
from typing import Any

from ml_collections import config_dict

from moral_jax.config.checks import check_value, field_type
from moral_jax.config.experiment import Config
from moral_jax.types import UserError


def _to_dict(cls: type) -> config_dict.ConfigDict:
    out = config_dict.ConfigDict()
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        kind, optional = field_type(hints[f.name])
        if dataclasses.is_dataclass(kind):
            out[f.name] = _to_dict(kind)
            continue
        out[f.name] = config_dict.placeholder(kind) if optional else f.default
        out[f.name] = f.default
    return out


def default() -> config_dict.ConfigDict:
    """All defaults as a locked ConfigDict: a misspelt field is an error."""
    return _to_dict(Config).lock()


def _build(cls: type, values: dict[str, Any], prefix: str = "") -> Any:
    hints, found = typing.get_type_hints(cls), {}
    for field, value in values.items():
        if field not in hints:
            raise UserError(f"config.{prefix}{field}: no such field; config.default() has those that there are")
        if not dataclasses.is_dataclass(hints[field]):
            found[field] = check_value(prefix + field, hints[field], value)
        elif isinstance(value, dict):
            found[field] = _build(hints[field], value, f"{prefix}{field}.")
        else:
            raise UserError(f"config.{prefix}{field}={value!r}: is a section; set its fields")
    return cls(**found)


def from_dict(values: dict[str, Any]) -> Config:
    """The checked, frozen form of a nested dict; fields that it does not name take their defaults.

    Raises:
      UserError: there is no such field, or a value is out of range; names the field, the value and what is expected.
    """
    return _build(Config, values)


def build(config: config_dict.ConfigDict) -> Config:
    """The checked, frozen form; errors as of `from_dict`."""
    return from_dict(config.to_dict())
