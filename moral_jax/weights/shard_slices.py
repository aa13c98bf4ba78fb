"""Which part of which file tensor a shard of a parameter is made of. Pure: no file is opened, no array is held."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from moral_jax.models.parameters import Entry

Bounds = tuple[tuple[int, int], ...]  # (start, stop) in every dimension of a parameter
BYTES = 4  # what a number is counted as, whatever the file keeps: GGUF blocks become float32


class Piece(NamedTuple):
    """Some rows of one file tensor, and where they go."""

    tensor: str
    index: tuple[slice, ...]  # what is read of the tensor, which files keep as [out, in]
    start: tuple[int, ...]  # its first corner in the shard


def sources(entry: Entry, is_gguf: bool) -> list[str]:
    """The names of the file tensors that a parameter is made of: one per layer, where it is of layers."""
    name = entry.gguf if is_gguf else entry.hf
    return [name] if entry.layers is None else [name.format(layer) for layer in entry.layers]


def file_shape(entry: Entry, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of each file tensor of a parameter of this shape."""
    matrix = shape[1:] if entry.stacked else shape
    return matrix[::-1] if entry.transpose else matrix


def cut(entry: Entry, names: list[str], shape: tuple[int, ...], shard: Bounds, piece_bytes: int) -> Iterator[Piece]:
    """The pieces of one shard: together they are the shard, none is read twice, and nothing outside of it is read.

    Args:
      entry: the parameter.
      names: of its file tensors.
      shape: of the whole parameter.
      shard: which part of it.
      piece_bytes: the most that a piece may hold; one row of a tensor is the least.
    """
    layers, matrix = (shard[0], shard[1:]) if entry.stacked else ((0, 1), shard)
    (first, stop), *columns = matrix[::-1] if entry.transpose else matrix
    whole_columns = tuple(slice(*bounds) for bounds in columns)
    step = max(1, piece_bytes // (BYTES * math.prod(file_shape(entry, shape)[1:])))
    for layer in range(*layers):
        for row in range(first, stop, step):
            corner = (row - first, *(0 for _ in columns))
            corner = corner[::-1] if entry.transpose else corner
            yield Piece(
                tensor=names[layer],
                index=(slice(row, min(row + step, stop)), *whole_columns),
                start=(layer - layers[0], *corner) if entry.stacked else corner,
            )
