"""Builds the frozen `Config` from nested dicts of values."""

import dataclasses
from typing import Any

from ml_collections import config_dict

from moral_jax.config.checks import annotations, check_value, field_type, item_type
from moral_jax.config.experiment import Config
from moral_jax.types import UserError


def _to_dict(cls: type) -> config_dict.ConfigDict:
    out = config_dict.ConfigDict()
    for f in dataclasses.fields(cls):
        of = field_type(annotations(cls)[f.name])
        if dataclasses.is_dataclass(of.kind):
            out[f.name] = _to_dict(of.kind)
            continue
        out[f.name] = config_dict.placeholder(of.kind) if of.optional else f.default
        out[f.name] = f.default
    return out


def default() -> config_dict.ConfigDict:
    """Returns all defaults as a locked ConfigDict: a misspelt field is an error."""
    return _to_dict(Config).lock()


def _build(cls: type, values: dict[str, Any], prefix: str = "") -> Any:
    hints, checked = annotations(cls), {}
    for field, value in values.items():
        if field not in hints:
            raise UserError(f"config.{prefix}{field}: no such field; config.default() has those that there are")
        if isinstance(item := item_type(hints[field]), type):
            checked[field] = _several(item, value, f"{prefix}{field}")
        elif not dataclasses.is_dataclass(hints[field]):
            checked[field] = check_value(prefix + field, hints[field], value)
        elif isinstance(value, dict):
            checked[field] = _build(hints[field], value, f"{prefix}{field}.")
        else:
            raise UserError(f"config.{prefix}{field}={value!r}: is a section; set its fields")
    return cls(**checked)


def _several(cls: type, values: Any, name: str) -> tuple[Any, ...]:
    """Returns the sections of a list of nested dicts."""
    if not isinstance(values, list | tuple) or not all(isinstance(value, dict) for value in values):
        raise UserError(f"config.{name}={values!r}: expected a list of sections")
    if missing := [i for i, value in enumerate(values) if "name" not in value]:
        raise UserError(f"config.{name}[{missing[0]}]: has no name")
    return tuple(_build(cls, value, f"{name}[{i}].") for i, value in enumerate(values))


def from_dict(values: dict[str, Any]) -> Config:
    """Returns the checked, frozen form of a nested dict; missing fields take their defaults.

    Raises:
      UserError: there is no such field, or a value is out of range; names the field, the value and what is expected.
    """
    return _build(Config, values)


def build(config: config_dict.ConfigDict) -> Config:
    """Returns the checked, frozen form of a ConfigDict; raises as `from_dict`."""
    return from_dict(config.to_dict())
