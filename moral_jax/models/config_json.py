"""Reads a Hugging Face `config.json` field by field: each is checked as it is read, and refused by name."""

import math
from typing import Any

from moral_jax.models.rope import LinearScaling, Llama3Scaling, LongScaling, Rope, Scaling, YarnScaling
from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError

MOST = 2**24  # limit of every count in a config.json: a hundred times that of the largest model
MOST_LAYERS = 1024


class Fields:
    """An object in a `config.json`; checks each field as it is read."""

    def __init__(self, values: dict[str, Any], where: str):
        self.values, self.where = values, where

    def get(self, field: str, default: Any = None) -> Any:
        """Returns a field, or its default where it is absent or null; raises UserError without either."""
        value = self.values.get(field)
        value = default if value is None else value
        if value is None:
            raise UserError(f"{self.where}: the field {field!r} is missing")
        return value

    def _error(self, field: str, value: Any, expected: str) -> UserError:
        return UserError(f"{self.where}: {field}={shown(value)}: expected {expected}; take the model's own config.json")

    def whole(self, field: str, default: int | None = None, least: int = 1, most: int = MOST) -> int:
        """Returns an integer from `least` to `most`."""
        value = self.get(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._error(field, value, f"a whole number from {least} to {most}")
        return value

    def positive(self, field: str, default: float | None = None) -> float:
        """Returns a finite number above zero."""
        value = self.get(field, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise self._error(field, value, "a positive number")
        return float(value)

    def inner(self, field: str) -> "Fields | None":
        """Returns a nested object; None where it is absent or empty."""
        value = self.values.get(field)
        if value is not None and not isinstance(value, dict):
            raise self._error(field, value, "a JSON object")
        return Fields(value, f"{self.where}: {field}") if value else None

    def optional(self, field: str, absent: float | None = None) -> float | None:
        """Returns a positive number; None where the field is null, and `absent` where it is absent."""
        if field not in self.values:
            return absent
        return None if self.values[field] is None else self.positive(field)

    def switch(self, field: str, default: bool = False) -> bool:
        """Returns true or false."""
        value = self.get(field, default)
        if not isinstance(value, bool):
            raise self._error(field, value, "true or false")
        return value

    def choice(self, field: str, choices: dict[str, Any], default: str | None = None) -> Any:
        """Returns what a name stands for; refuses names that are not ported."""
        value = self.get(field, default)
        if not isinstance(value, str) or value not in choices:
            known = ", ".join(map(repr, choices))
            raise UserError(f"{self.where}: {field}={shown(value)} is not supported; supported: {known}")
        return choices[value]

    def numbers(self, field: str, count: int) -> tuple[float, ...]:
        """Returns a list of positive numbers of a given length."""
        value = self.get(field)
        listed = value if isinstance(value, list) else [value]
        if len(listed) != count or not all(
            isinstance(x, int | float) and not isinstance(x, bool) and 0 < x < math.inf for x in listed
        ):
            raise self._error(field, value, f"{count} positive numbers")
        return tuple(map(float, listed))

    def names(self, field: str, count: int) -> list[Any]:
        """Returns the first items of a list that has as many or more."""
        value = self.get(field)
        if not isinstance(value, list) or len(value) < count:
            raise self._error(field, value, f"a list of {count} items")
        return value[:count]


def check_neutral(hf: Fields, neutral: dict[str, Any]) -> None:
    """Refuses settings that would change results and are not ported."""
    for field, supported in neutral.items():
        if (value := hf.values.get(field)) not in (None, supported):
            raise UserError(f"{hf.where}: {field}={shown(value)} is not supported (only {supported!r} is)")


def check_multiple(where: str, field: str, size: int, of_field: str, of: int) -> None:
    """Refuses a size that is not a multiple of another."""
    if size % of:
        raise UserError(f"{where}: {field}={size} is not a multiple of {of_field}={of}")


def layers(hf: Fields) -> int:
    """Returns how many layers a model has."""
    return hf.whole("num_hidden_layers", most=MOST_LAYERS)


def rope_fields(hf: Fields) -> Fields:
    """Returns the RoPE settings: `rope_parameters` of transformers 5, or the older `rope_scaling`.

    Of both, transformers takes `rope_scaling`.
    """
    return hf.inner("rope_scaling") or hf.inner("rope_parameters") or Fields({}, hf.where)


def _original_positions(hf: Fields, scaling: Fields) -> int:
    """Returns the context that a model was trained with before it was stretched."""
    within = scaling.values.get("original_max_position_embeddings")
    if "original_max_position_embeddings" in hf.values or within is None:
        return hf.whole("original_max_position_embeddings", hf.whole("max_position_embeddings"))
    return scaling.whole("original_max_position_embeddings")


def _linear(hf: Fields, scaling: Fields, size: int) -> Scaling:
    return LinearScaling(scaling.positive("factor"))


def _llama3(hf: Fields, scaling: Fields, size: int) -> Scaling:
    return Llama3Scaling(
        factor=scaling.positive("factor"),
        low_freq_factor=scaling.positive("low_freq_factor"),
        high_freq_factor=scaling.positive("high_freq_factor"),
        original_max_positions=_original_positions(hf, scaling),
    )


def _yarn(hf: Fields, scaling: Fields, size: int) -> Scaling:
    factor = scaling.positive("factor")

    def magnitude(weight: float = 1.0) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    weights = [scaling.values.get(field) for field in ("mscale", "mscale_all_dim")]
    ratio = magnitude(scaling.positive("mscale")) / magnitude(scaling.positive("mscale_all_dim")) if all(weights) else 0
    return YarnScaling(
        factor=factor,
        original_max_positions=_original_positions(hf, scaling),
        beta_fast=scaling.positive("beta_fast", 32.0),
        beta_slow=scaling.positive("beta_slow", 1.0),
        truncate=scaling.switch("truncate", True),
        magnitude=scaling.positive("attention_factor", ratio or magnitude()),
    )


def _long(hf: Fields, scaling: Fields, size: int) -> Scaling:
    """Takes the divisors of short contexts; `longest` keeps texts within them."""
    original = _original_positions(hf, scaling)
    factor = scaling.positive("factor", hf.whole("max_position_embeddings") / original)
    magnitude = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    scaling.numbers("long_factor", size // 2)
    return LongScaling(scaling.numbers("short_factor", size // 2), scaling.positive("attention_factor", magnitude))


SCALINGS = {
    "default": lambda hf, scaling, size: None,
    # changes nothing up to max_position_embeddings, beyond which no text goes
    "dynamic": lambda hf, scaling, size: None,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _long,
}


def _kind(scaling: Fields) -> str:
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if not isinstance(kind, str) or kind not in SCALINGS:
        known = ", ".join(map(repr, SCALINGS))
        raise UserError(f"{scaling.where}: rope type {shown(kind)} is not supported; supported: {known}")
    return kind


def longest(hf: Fields) -> int:
    """Returns how many positions a text may have.

    LongRoPE divides by other numbers once a text is longer than the original context. A text's first half would then be
    another one than alone, so such texts are not computed.
    """
    most, scaling = hf.whole("max_position_embeddings"), rope_fields(hf)
    is_long = scaling.values.get("rope_type", scaling.values.get("type")) in ("longrope", "su")
    return min(most, _original_positions(hf, scaling)) if is_long else most


def rope(hf: Fields, scaling: Fields, head_size: int, theta: float = 10_000.0, partial: float = 1.0) -> Rope:
    """Returns a rotation.

    Args:
      hf: the whole config.
      scaling: the settings of the rotation; where it has no base, `rope_theta` of the config is taken, or `theta`.
      partial: the share of a head's dimensions that rotates.
    """
    theta = (scaling if "rope_theta" in scaling.values else hf).positive("rope_theta", theta)
    check_neutral(scaling, {"mrope_section": None})
    size = int(head_size * partial)
    if size % 2 or not size:
        raise UserError(f"{hf.where}: RoPE rotates {size} dimensions of a head of {head_size}; expected an even number")
    return Rope(theta, size, SCALINGS[_kind(scaling)](hf, scaling, size))
