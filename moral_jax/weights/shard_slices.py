"""Computes which slices of which file tensors make up one shard of a parameter.

Pure index arithmetic: no file is opened and no array is allocated. A stacked parameter has a leading layer axis; each
of its layers is a file tensor of its own. Files keep linear maps as [out, in] and parameters are [in, out], so bounds
and corners are reversed for transposed entries. A shard is cut along the rows of the file tensors into pieces of at
most `piece_bytes`.
"""

import dataclasses
import math
from collections.abc import Iterator

from moral_jax.models.parameters import Entry

Bounds = tuple[tuple[int, int], ...]  # (start, stop) in every dimension of a parameter
BYTES = 4  # assumed size of a number, whatever the file's type: GGUF blocks are dequantised to float32


@dataclasses.dataclass(frozen=True)  # no tuple, whose `index` is a method
class Piece:
    """Some rows of one file tensor, and their position in the shard."""

    tensor: str
    index: tuple[slice, ...]  # part of the file tensor, which is [out, in]
    start: tuple[int, ...]  # first corner in the shard


def sources(entry: Entry, is_gguf: bool) -> list[str]:
    """Returns the names of a parameter's file tensors: one per layer, or a single one outside the layers."""
    name = entry.gguf if is_gguf else entry.hf
    return [name] if entry.layers is None else [name.format(layer) for layer in entry.layers]


def file_shape(entry: Entry, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape that each file tensor must have, given the parameter's shape."""
    matrix = shape[1:] if entry.stacked else shape
    return matrix[::-1] if entry.transpose else matrix


def cut(entry: Entry, names: list[str], shape: tuple[int, ...], shard: Bounds, piece_bytes: int) -> Iterator[Piece]:
    """Yields the pieces of one shard. Together they cover the shard exactly; they do not overlap.

    Args:
      entry: the parameter.
      names: names of its file tensors.
      shape: global shape of the parameter.
      shard: bounds of the shard in every dimension.
      piece_bytes: maximum size of a piece; a piece has at least one row of a tensor.
    """
    layers, matrix = (shard[0], shard[1:]) if entry.stacked else ((0, 1), shard)
    (first, stop), *columns = matrix[::-1] if entry.transpose else matrix
    column_slices = tuple(slice(*bounds) for bounds in columns)
    step = max(1, piece_bytes // (BYTES * math.prod(file_shape(entry, shape)[1:])))
    for layer in range(*layers):
        for row in range(first, stop, step):
            corner = (row - first, *(0 for _ in columns))
            corner = corner[::-1] if entry.transpose else corner
            yield Piece(
                tensor=names[layer],
                index=(slice(row, min(row + step, stop)), *column_slices),
                start=(layer - layers[0], *corner) if entry.stacked else corner,
            )
