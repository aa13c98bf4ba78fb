"""What a field's annotation says, and checks of values against it.

A field is annotated with its type and, where not every value will do, with the values that will:

    kind: Literal["none", "lora", "dora"] = "none"
    rank: Annotated[int, AT_LEAST_1] = 16
    limit: Annotated[int, AT_LEAST_1] | None = None

The checks here, `--help` and a type checker all read the same annotation.
"""

import dataclasses
import functools
import math
import types
import typing
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from moral_jax.runtime import places
from moral_jax.runtime.strict_json import direction_character, forbidden_character
from moral_jax.types import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Range(NamedTuple):
    """Numbers that a field may have."""

    holds: typing.Callable[[float], bool]
    words: str  # completes "expected ..."


AT_LEAST_0 = Range(lambda x: x >= 0, "zero or more")
AT_LEAST_1 = Range(lambda x: x >= 1, "at least 1")
# each of these is so many passes over all rows, or an array of so many rows
EPOCHS = Range(lambda x: 0 <= x <= 10_000, "0 to 10000")
DRAWS = Range(lambda x: 10 <= x <= 100_000, "10 to 100000")
RESAMPLES = Range(lambda x: 100 <= x <= 100_000, "100 to 100000")
POSITIVE = Range(lambda x: x > 0, "a positive number")
ABOVE_1 = Range(lambda x: x > 1, "more than 1")
SHARE = Range(lambda x: 0 <= x <= 1, "a share in [0, 1]")
SHARE_BELOW_1 = Range(lambda x: 0 <= x < 1, "a share in [0, 1)")
SHARE_BELOW_HALF = Range(lambda x: 0 <= x < 0.5, "a share in [0, 0.5)")
SHARE_ABOVE_0 = Range(lambda x: 0 < x <= 1, "a share in (0, 1]")
BELOW_1 = Range(lambda x: 0 <= x < 1, "in [0, 1)")
AXIS_SIZE = Range(lambda x: x >= 1 or x == -1, "at least 1, or -1 for the rest")


class FieldType(NamedTuple):
    """An annotation, taken apart."""

    kind: type
    optional: bool = False  # None is a value too
    choices: tuple[str, ...] = ()  # the only values, where there are any
    limits: Range | None = None

    @property
    def words(self) -> str:
        """The values, in words."""
        if self.choices:
            return " or ".join(repr(choice) for choice in self.choices)
        return self.limits.words if self.limits else ""


def field_type(annotation: Any) -> FieldType:
    """Takes an annotation apart: a type, `Literal[...]`, `Annotated[TYPE, RANGE]`, or one of them `| None`."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        inner = next(t for t in typing.get_args(annotation) if t is not types.NoneType)
        return field_type(inner)._replace(optional=True)
    if typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        return FieldType(type(choices[0]), choices=choices)
    if typing.get_origin(annotation) is typing.Annotated:
        kind, limits = typing.get_args(annotation)
        return FieldType(kind, limits=limits)
    return FieldType(annotation)


def item_type(annotation: Any) -> type | None:
    """Returns the section of which a field holds several, `tuple[SECTION, ...]`; None for any other field."""
    is_tuple = typing.get_origin(annotation) is tuple
    return typing.get_args(annotation)[0] if is_tuple else None


@functools.cache
def annotations(section: type) -> dict[str, Any]:
    """Returns the annotation of every field of a section, ranges included."""
    hints = typing.get_type_hints(section, include_extras=True)
    return {name: hint for name, hint in hints.items() if typing.get_origin(hint) is not typing.ClassVar}


def section_name(section: type) -> str:
    """Returns the name under which a section stands in `Config`: its `SECTION`, or else the name of its class."""
    return getattr(section, "SECTION", section.__name__.removesuffix("Config").lower())


def check(section: object, field: str, valid: bool, expected: str) -> None:
    """Raises a UserError that names a field, its value and what is expected, unless `valid`."""
    if not valid:
        name = section_name(type(section))
        raise UserError(f"config.{name}.{field}={getattr(section, field)!r}: expected {expected}")


def check_fields(section: "DataclassInstance") -> None:
    """Checks the choices and ranges of all fields of a section."""
    for field in dataclasses.fields(section):
        of, value = field_type(annotations(type(section))[field.name]), getattr(section, field.name)
        if value is None and of.optional:
            continue
        valid = value in of.choices if of.choices else of.limits is None or of.limits.holds(value)
        check(section, field.name, valid, of.words)


def check_local(section: "DataclassInstance", *fields: str) -> None:
    """Refuses addresses of buckets and pages in fields that hold paths."""
    for field in fields:
        places.check_local(f"--config.{section_name(type(section))}.{field}", getattr(section, field))


def check_unread(section: "DataclassInstance", fields: tuple[str, ...], why: str) -> None:
    """Refuses fields that are set although nothing reads them.

    Args:
      fields: those that nothing reads.
      why: completes "expected the default, because ...".
    """
    defaults = {f.name: f.default for f in dataclasses.fields(section)}
    for field in fields:
        unset = getattr(section, field) == defaults[field]
        check(section, field, unset, f"{defaults[field]!r}, because {why}")


def check_value(name: str, annotation: Any, value: Any) -> Any:
    """Returns the value, if it is of the field's type: numbers must be finite, and whole ones below 2**31."""
    of = field_type(annotation)
    if value is None and of.optional:
        return None
    if of.kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    fits = not isinstance(value, int) or abs(value) < 2**31
    is_right = fits and type(value) is of.kind and of.kind is not float
    if isinstance(value, str) and (bad := forbidden_character(value) or direction_character(value)):
        raise UserError(f"config.{name}: holds {bad}; remove it")
    if not is_right:
        expected = {float: "a finite number", int: "a whole number below 2**31", str: "a text", bool: "true or false"}
        or_none = " or none" if of.optional else ""
        raise UserError(f"config.{name}={value!r}: expected {expected[of.kind]}{or_none}")
    return value
