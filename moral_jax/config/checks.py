"""Checks of values: of single fields, and of sections as they are made."""

import math
import types
from typing import Any

from moral_jax.runtime.strict_json import unfit
from moral_jax.types import UserError


def check(section: object, field: str, valid: bool, expected: str) -> None:
    if not valid:
        name = type(section).__name__.removesuffix("Config").lower()
        raise UserError(f"config.{name}.{field}={getattr(section, field)!r}: expected {expected}")


def check_choice(section: object, field: str, choices: tuple[str, ...]) -> None:
    check(section, field, getattr(section, field) in choices, " or ".join(repr(c) for c in choices))


def field_type(annotation: Any) -> tuple[type, bool]:
    """The type of a field's value, and whether None is one too."""
    if isinstance(annotation, types.UnionType):
        return next(t for t in annotation.__args__ if t is not types.NoneType), True
    return annotation, False


def check_value(name: str, annotation: Any, value: Any) -> Any:
    """The value, if it is of the field's type; numbers must be finite, and whole ones those that arrays can count."""
    kind, optional = field_type(annotation)
    if value is None and optional:
        return None
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    is_right = type(value) is kind and (kind is not int or abs(value) < 2**31) and kind is not float
    if isinstance(value, str) and (bad := unfit(value)):
        raise UserError(f"config.{name}: holds {bad}; remove it")
    if not is_right:
        expected = {float: "a finite number", int: "a whole number below 2**31", str: "a text", bool: "true or false"}
        raise UserError(f"config.{name}={value!r}: expected {expected[kind]}{' or none' if optional else ''}")
    return value
