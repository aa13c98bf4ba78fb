"""Rotary position embeddings (arXiv 2104.09864): which angles a layer turns queries and keys by."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from moral_jax.types import Array


@dataclasses.dataclass(frozen=True)
class LinearScaling:
    """All wavelengths are stretched by a factor (`rope_type: linear`)."""

    factor: float


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
    """The scaling of Llama 3.1 to 3.3 (`rope_type: llama3`): long wavelengths are stretched by `factor`, short ones are
    kept, and those between are interpolated."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclasses.dataclass(frozen=True)
class YarnScaling:
    """YaRN (arXiv 2309.00071, `rope_type: yarn`): dimensions that turn fewer than `beta_slow` times over the original
    context are stretched by `factor`, those that turn more than `beta_fast` times are kept, and those between are
    interpolated. `truncate` rounds both bounds to whole dimensions."""

    factor: float
    original_max_positions: int
    beta_fast: float
    beta_slow: float
    truncate: bool
    magnitude: float


@dataclasses.dataclass(frozen=True)
class LongScaling:
    """LongRoPE (arXiv 2402.13753, `rope_type: longrope`) up to the original context: a divisor for each frequency."""

    divisors: tuple[float, ...]
    magnitude: float


Scaling = LinearScaling | Llama3Scaling | YarnScaling | LongScaling


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotates the first `size` dimensions of every head. The longest wavelength is about 2 pi * theta positions."""

    theta: float
    size: int
    scaling: Scaling | None

    @property
    def magnitude(self) -> float:
        """What cosine and sine are multiplied by."""
        return self.scaling.magnitude if isinstance(self.scaling, YarnScaling | LongScaling) else 1.0


def _linear(frequencies: Array, rope: Rope, s: LinearScaling) -> Array:
    return frequencies / s.factor


def _llama3(frequencies: Array, rope: Rope, s: Llama3Scaling) -> Array:
    wavelengths = 2 * math.pi / frequencies
    smooth = (s.original_max_positions / wavelengths - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)
    smooth = jnp.clip(smooth, 0.0, 1.0)
    return (1 - smooth) * frequencies / s.factor + smooth * frequencies


def _yarn(frequencies: Array, rope: Rope, s: YarnScaling) -> Array:
    def dimension(turns: float) -> float:
        """Returns the dimension that turns so often over the original context."""
        return rope.size * math.log(s.original_max_positions / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = dimension(s.beta_fast), dimension(s.beta_slow)
    if s.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.size - 1)
    width = high - low or 0.001
    stretched = jnp.clip((jnp.arange(rope.size // 2, dtype=jnp.float32) - low) / width, 0.0, 1.0)
    return frequencies / s.factor * stretched + frequencies * (1 - stretched)


def _long(frequencies: Array, rope: Rope, s: LongScaling) -> Array:
    return frequencies / jnp.array(s.divisors, jnp.float32)


SCALED: dict[type, Callable[[Array, Rope, Any], Array]] = {
    LinearScaling: _linear,
    Llama3Scaling: _llama3,
    YarnScaling: _yarn,
    LongScaling: _long,
}


def frequencies(rope: Rope) -> Array:
    """Returns the inverse wavelengths [size // 2], float32, as transformers computes them for each `rope_type`."""
    exponents = jnp.arange(0, rope.size, 2, dtype=jnp.float32) / rope.size
    plain = 1.0 / rope.theta**exponents
    return plain if rope.scaling is None else SCALED[type(rope.scaling)](plain, rope, rope.scaling)


Tables = tuple[Array, Array]  # cosine and sine, [..., B, T, size // 2]


def tables(ropes: Sequence[Rope | None], positions_BT: Array) -> Tables:
    """Returns cosine and sine [R, B, T, size // 2] of some rotations, float32 because bf16 cannot count past 256.

    None turns by no angle. All others must rotate as many dimensions.
    """
    size = next(rope.size for rope in ropes if rope)
    still = Rope(1.0, size, None)
    rows = [frequencies(rope) if rope else jnp.zeros(size // 2) for rope in ropes]
    angles = positions_BT[None, ..., None].astype(jnp.float32) * jnp.stack(rows)[:, None, None]
    magnitudes = jnp.array([(rope or still).magnitude for rope in ropes], jnp.float32)[:, None, None, None]
    return jnp.cos(angles) * magnitudes, jnp.sin(angles) * magnitudes


def rotate(x_BTNH: Array, table: Tables) -> Array:
    """Rotates the first dimensions of every head by tables [B, T, size // 2].

    The layout is that of Hugging Face: dimension i turns with dimension i + size // 2.
    """
    half = table[0].shape[-1]
    turned, rest = x_BTNH[..., : 2 * half], x_BTNH[..., 2 * half :]
    first, second = jnp.split(turned.astype(jnp.float32), 2, axis=-1)
    cos, sin = (t[:, :, None, :] for t in table)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x_BTNH.dtype)
    return turned if rest.shape[-1] == 0 else jnp.concatenate([turned, rest], axis=-1)
