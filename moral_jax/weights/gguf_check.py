"""Validates the header of a GGUF file before the gguf package parses it.

The package trusts the counts in a file: given a count of 2^60, it would read as many empty entries beyond the end of
the file. `_Header` walks through the memory-mapped header once. It checks every length and count against the bytes
left, so that the work is bounded by the size of the file, and then checks that the tensors lie in the file without
overlaps. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import mmap
import struct
from pathlib import Path

import gguf

from moral_jax.types import UserError

UINT32, STRING, ARRAY = gguf.GGUFValueType.UINT32, gguf.GGUFValueType.STRING, gguf.GGUFValueType.ARRAY
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of each scalar type
LONGEST_NAME = 65_535  # bytes; the format's limit for keys
MOST_DIMENSIONS = 4
MOST_ALIGNMENT = 2**20


class _Header:
    """A cursor over a header that never moves past the end of the file."""

    def __init__(self, data: mmap.mmap, where: Path):
        self.data, self.where, self.at = data, where, 0
        self.alignment = gguf.GGUF_DEFAULT_ALIGNMENT

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

    def value(self, kind: int, key: str) -> None:
        """Checks and skips the value of a metadata field. Notes the alignment."""
        if key == "general.alignment" and kind != UINT32:
            raise self.error(f"{key!r} of type {kind}, expected uint32,")
        if kind == STRING:
            self.text(f"{key!r}")
        elif kind == ARRAY:
            self.array(key)
        elif kind in SIZES:
            start = self.skip(SIZES[kind], f"{key!r}")
            if key == "general.alignment":
                self.alignment = struct.unpack_from("<I", self.data, start)[0]
        else:
            raise self.error(f"{key!r} of unknown type {kind}")

    def array(self, key: str) -> None:
        """Checks and skips an array of scalars or strings. Nested arrays are refused."""
        kind, count = self.number("I", f"the type of {key!r}"), self.number("Q", f"the length of {key!r}")
        if kind in SIZES:
            self.skip(count * SIZES[kind], f"{key!r}")
        elif kind == STRING:
            if 8 * count > len(self.data) - self.at:
                raise self.error(f"{key!r} of {count} strings")
            for _ in range(count):
                self.text(f"{key!r}")
        else:
            raise self.error(f"{key!r}: an array of type {kind}")

    def tensor(self) -> tuple[str, int, int]:
        """Reads a tensor's entry; returns its name, its offset in the tensor data, and its size in bytes."""
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
        return name, start, math.prod(shape) // block * size

    def counter(self, count: int, least: int, what: str) -> range:
        """Returns `range(count)`, after checking that `count` entries of `least` bytes fit in the bytes left."""
        if least * count > len(self.data) - self.at:
            raise self.error(f"{count} {what}")
        return range(count)

    def check(self) -> None:
        """Checks the whole header; raises the UserError of the first fault."""
        if self.data[:4] != b"GGUF":
            raise self.error("it does not begin with GGUF")
        self.at = 4
        if (version := self.number("I", "the version")) not in (2, 3):
            raise self.error(f"version {version}; 2 and 3 are read")
        tensors, fields = self.number("Q", "the count of tensors"), self.number("Q", "the count of fields")
        seen: set[str] = set()
        for _ in self.counter(fields, 12, "fields"):
            key = self.text("a key", LONGEST_NAME)
            if key in seen:
                raise self.error(f"the key {key!r} appears twice")
            seen.add(key)
            self.value(self.number("I", f"the type of {key!r}"), key)
        self.check_tensors([self.tensor() for _ in self.counter(tensors, 24, "tensors")])

    def check_tensors(self, tensors: list[tuple[str, int, int]]) -> None:
        """Checks that tensor names are unique, and that tensors are aligned, disjoint and inside the file."""
        step = self.alignment
        if not 0 < step <= MOST_ALIGNMENT or step & (step - 1):
            raise self.error(f"an alignment of {step} bytes")
        if len({name for name, _, _ in tensors}) < len(tensors):
            raise self.error("two tensors of the same name")
        data_size = len(self.data) - -(-self.at // step) * step
        end = 0
        for name, start, size in sorted(tensors, key=lambda tensor: tensor[1]):
            if start % step or start < end or start + size > data_size:
                raise self.error(
                    f"tensor {name!r} has bytes {start} to {start + size} of {data_size}: it is misaligned, overlaps "
                    f"another tensor, or ends after the file,"
                )
            end = start + size


def check(path: Path) -> None:
    """Checks the header of a GGUF file, without reading its tensors.

    Raises:
      UserError: the file is missing or its header is invalid. The message names the entry and its byte position.
    """
    try:
        with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _Header(data, path).check()
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e
    except ValueError as e:  # mmap refuses empty files
        raise UserError(f"{path}: not a readable GGUF file (it is empty); fetch it again") from e
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e
