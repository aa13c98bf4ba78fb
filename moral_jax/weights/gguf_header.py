"""Reads the header of a GGUF file: metadata fields, and where tensors lie.

Counts and lengths in a file are not trusted: a count of 2^60 would be read as many empty entries beyond the end of the
file. `_Header` walks through the memory-mapped header once. It checks every length and count against the bytes left, so
that the work is bounded by the size of the file, limits the items of arrays, and checks that the tensors lie in the
file without overlaps. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import mmap
import struct
from pathlib import Path
from typing import Any, NamedTuple

import gguf

from moral_jax.types import UserError

UINT32, STRING, ARRAY = gguf.GGUFValueType.UINT32, gguf.GGUFValueType.STRING, gguf.GGUFValueType.ARRAY
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # of `struct`
MOST_ITEMS = 2**21  # of all arrays together; the largest honest vocabularies have a million, merges and types included
LONGEST_NAME = 65_535  # bytes; the format's limit for keys
ALIGNMENT = gguf.Keys.General.ALIGNMENT
MOST_DIMENSIONS = 4
MOST_ALIGNMENT = 2**20


class Tensor(NamedTuple):
    """Where a tensor lies."""

    name: str
    kind: gguf.GGMLQuantizationType
    shape: tuple[int, ...]  # in NumPy order: [out, in]
    start: int  # its first byte in the file
    size: int  # bytes


class _Header:
    """A cursor over a header that never moves past the end of the file."""

    def __init__(self, data: mmap.mmap, where: Path):
        self.data, self.where, self.at, self.items = data, where, 0, 0

    def error(self, reason: str) -> UserError:
        return UserError(f"{self.where}: not a readable GGUF file ({reason} at byte {self.at}); fetch it again")

    def skip(self, size: int, what: str) -> int:
        """Moves past the next `size` bytes and returns their offset."""
        if size > len(self.data) - self.at:
            raise self.error(f"{what} of {size} bytes, but {len(self.data) - self.at} are left")
        self.at += size
        return self.at - size

    def number(self, kind: str, what: str) -> int:
        """Reads a little-endian number; `kind` is its `struct` format character."""
        return struct.unpack_from(f"<{kind}", self.data, self.skip(struct.calcsize(kind), what))[0]

    def text(self, what: str, most: int | None = None) -> str:
        """Reads a UTF-8 string of at most `most` bytes."""
        size = self.number("Q", f"the length of {what}")
        if most is not None and size > most:
            raise self.error(f"{what} of {size} bytes")
        start = self.skip(size, what)
        try:
            return self.data[start : start + size].decode("utf-8")
        except UnicodeDecodeError as e:
            raise self.error(f"{what} that is not UTF-8") from e

    def value(self, kind: int, key: str) -> Any:
        """Reads the value of a metadata field."""
        if key == ALIGNMENT and kind != UINT32:
            raise self.error(f"{key!r} of type {kind}, expected uint32,")
        if kind == STRING:
            return self.text(f"{key!r}")
        if kind == ARRAY:
            return self.array(key)
        if kind in SCALARS:
            return self.number(SCALARS[kind], f"{key!r}")
        raise self.error(f"{key!r} of unknown type {kind}")

    def array(self, key: str) -> list[Any]:
        """Reads an array of scalars or strings. Nested arrays are refused."""
        kind, count = self.number("I", f"the type of {key!r}"), self.number("Q", f"the length of {key!r}")
        if kind not in SCALARS and kind != STRING:
            raise self.error(f"{key!r}: an array of type {kind}")
        size = 8 if kind == STRING else struct.calcsize(SCALARS[kind])  # of a string at least its length
        if size * count > len(self.data) - self.at:
            raise self.error(f"{key!r} of {count} {'strings' if kind == STRING else 'numbers'}")
        self.items += count
        if self.items > MOST_ITEMS:
            raise self.error(f"{key!r} of {count} items, where arrays may have {MOST_ITEMS} together,")
        if kind == STRING:
            return [self.text(key) for _ in range(count)]
        return list(struct.unpack_from(f"<{count}{SCALARS[kind]}", self.data, self.skip(count * size, key)))

    def tensor(self) -> Tensor:
        """Reads a tensor's entry; `start` is its offset in the tensor data."""
        name = self.text("the name of a tensor", LONGEST_NAME)
        dimensions = self.number("I", f"the rank of tensor {name!r}")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise self.error(f"tensor {name!r} of {dimensions} dimensions")
        shape = [self.number("Q", f"the shape of tensor {name!r}") for _ in range(dimensions)]
        kind, start = (
            self.number("I", f"the type of tensor {name!r}"),
            self.number("Q", f"the offset of tensor {name!r}"),
        )
        if kind not in gguf.GGML_QUANT_SIZES:
            raise self.error(f"tensor {name!r} of unknown type {kind}")
        block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
        if math.prod(shape) == 0 or shape[:1] and shape[0] % block:
            raise self.error(f"tensor {name!r} of shape {shape}, which its type does not allow,")
        bytes_ = math.prod(shape) // block * size
        return Tensor(name, gguf.GGMLQuantizationType(kind), tuple(reversed(shape)), start, bytes_)

    def counter(self, count: int, least: int, what: str) -> range:
        """Returns `range(count)`, after checking that `count` entries of `least` bytes fit in the bytes left."""
        if least * count > len(self.data) - self.at:
            raise self.error(f"{count} {what}")
        return range(count)

    def read(self) -> tuple[dict[str, Any], list[Tensor]]:
        """Returns the metadata fields and the tensors; raises the UserError of the first fault."""
        if self.data[:4] != b"GGUF":
            raise self.error("it does not begin with GGUF")
        self.at = 4
        if (version := self.number("I", "the version")) not in (2, 3):
            raise self.error(f"version {version}; 2 and 3 are read")
        tensors, fields = self.number("Q", "the count of tensors"), self.number("Q", "the count of fields")
        metadata: dict[str, Any] = {}
        for _ in self.counter(fields, 12, "fields"):
            key = self.text("a key", LONGEST_NAME)
            if key in metadata:
                raise self.error(f"the key {key!r} appears twice")
            metadata[key] = self.value(self.number("I", f"the type of {key!r}"), key)
        listed = [self.tensor() for _ in self.counter(tensors, 24, "tensors")]
        return metadata, self.placed(listed, metadata.get(ALIGNMENT, gguf.GGUF_DEFAULT_ALIGNMENT))

    def placed(self, tensors: list[Tensor], step: int) -> list[Tensor]:
        """Returns the tensors with their places in the file.

        Checks that names are unique, and that tensors are aligned to `step` bytes, disjoint and inside the file.
        """
        if not 0 < step <= MOST_ALIGNMENT or step & (step - 1):
            raise self.error(f"an alignment of {step} bytes")
        if len({tensor.name for tensor in tensors}) < len(tensors):
            raise self.error("two tensors of the same name")
        first = -(-self.at // step) * step
        data_size, end = len(self.data) - first, 0
        for name, _, _, start, size in sorted(tensors, key=lambda tensor: tensor.start):
            if start % step or start < end or start + size > data_size:
                raise self.error(
                    f"tensor {name!r} has bytes {start} to {start + size} of {data_size}: it is misaligned, overlaps "
                    f"another tensor, or ends after the file,"
                )
            end = start + size
        return [tensor._replace(start=first + tensor.start) for tensor in tensors]


def read(path: Path) -> tuple[dict[str, Any], list[Tensor]]:
    """Returns the metadata fields of a GGUF file, and where its tensors lie, without reading them.

    Raises:
      UserError: the file is missing or its header is invalid. The message names the entry and its byte position.
    """
    try:
        with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Header(data, path).read()
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e
    except ValueError as e:  # mmap refuses empty files
        raise UserError(f"{path}: not a readable GGUF file (it is empty); fetch it again") from e
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e
