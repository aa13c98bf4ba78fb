"""Reads GGUF files (llama.cpp): metadata, and tensors dequantised to float32 with the `gguf` package.

`gguf_header` reads the header. `GgufFile` then reads rows of tensors from a memory map, of one file or of the parts of
a split one. `gguf_config` translates the metadata to a Hugging Face config, and `halves_order` undoes llama.cpp's
interleaving of query and key rows.
"""

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gguf
import numpy as np

from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError
from moral_jax.weights import gguf_header, hf

T = TypeVar("T")
READABLE = (  # what the package decodes
    "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "TQ1_0", "TQ2_0", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M", "IQ4_NL", "IQ4_XS",
    "MXFP4", "NVFP4",
)  # fmt: skip
MOST_PARTS = 99_999
PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")  # how llama-gguf-split calls the parts of a file


def _to_float(data: np.ndarray, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    return gguf.quants.dequantize(data, kind).astype(np.float32, copy=False)


class _Stored(NamedTuple):
    """A tensor, and the bytes of the file that it lies in."""

    tensor: gguf_header.Tensor
    file: np.ndarray


def _parts(path: Path, metadata: dict[str, Any]) -> list[Path]:
    """Returns the files of a model: one, or all parts of which `path` is the first.

    Raises:
      UserError: `path` is a later part, or a part is missing.
    """
    count = metadata.get("split.count", 1)
    if type(count) is not int or not 0 <= count <= MOST_PARTS:
        raise UserError(f"{path}: the metadata field 'split.count': found {shown(count)}, expected up to {MOST_PARTS}")
    if count <= 1:
        return [path]
    named = PART.fullmatch(path.name)
    if named is None or int(named[3]) != count:
        example = f"NAME-00001-of-{count:05d}.gguf"
        raise UserError(f"{path}: is one of {count} parts ('split.count'), which are found by names such as {example}")
    parts = [path.with_name(f"{named[1]}-{i:05d}-of-{named[3]}.gguf") for i in range(1, count + 1)]
    if path != parts[0]:
        raise UserError(f"{path}: is a later one of {count} parts ('split.count'); name the first, {parts[0].name}")
    for part in parts:
        if not hf.inside(path.parent, part.name).exists():
            raise UserError(f"{path}: is the first of {count} parts, and {part.name} is missing beside it")
    return parts


class GgufFile:
    """An open GGUF file, or all parts of a file that was split. Tensor shapes are in NumPy order: [out, in]."""

    def __init__(self, path: Path):
        self.path = path
        self.metadata, _ = gguf_header.read(path)
        self.parts = _parts(path, self.metadata)
        self._tensors: dict[str, _Stored] = {}
        for number, part in enumerate(self.parts):
            metadata, tensors = gguf_header.read(part)
            if len(self.parts) > 1:
                self._check_part(part, number, metadata, tensors)
            data = np.asarray(np.memmap(part, np.uint8, "r"))  # slicing numpy.memmap itself is slow
            for tensor in tensors:
                if tensor.kind.name not in READABLE:
                    kinds = ", ".join(READABLE)
                    raise UserError(f"{part}: tensor {tensor.name!r} is {tensor.kind.name}; readable: {kinds}")
                self._tensors[tensor.name] = _Stored(tensor, data)
        expected = self.metadata.get("split.tensors.count", 0) or len(self._tensors)
        if len(self._tensors) != expected:
            raise UserError(f"{path}: its parts hold {len(self._tensors)} tensors, 'split.tensors.count' is {expected}")

    def _check_part(self, part: Path, number: int, metadata: dict[str, Any], tensors: list[gguf_header.Tensor]) -> None:
        """Refuses a part of another file."""
        for key, value in {"split.no": number, "split.count": len(self.parts)}.items():
            if metadata.get(key) != value:
                found = shown(metadata.get(key))
                raise UserError(f"{part}: the metadata field {key!r}: found {found}, expected {value} by its name")
        if twice := sorted(tensor.name for tensor in tensors if tensor.name in self._tensors):
            raise UserError(f"{part}: tensor {twice[0]!r} lies in an earlier part too; fetch all parts again")

    def get(self, key: str, kind: type[T], default: T | None = None) -> T:
        """Returns a metadata field, or `default` if the field is missing.

        Raises:
          UserError: the field is missing and has no default, or is of another type (for float, an int is accepted).
        """
        value = self.metadata.get(key, default)
        if value is None:
            raise UserError(f"{self.path}: the metadata field {key!r} is missing; convert the model again")
        is_right = type(value) is kind or (kind is float and type(value) is int)
        if not is_right:
            raise UserError(f"{self.path}: the metadata field {key!r}: found {shown(value)}, expected {kind.__name__}")
        return value

    def texts(self, key: str) -> list[str]:
        """Returns a metadata field that is a list of strings."""
        values = self.get(key, list)
        if not all(isinstance(v, str) for v in values):
            raise UserError(f"{self.path}: the metadata field {key!r}: expected a list of strings")
        return values

    def names(self) -> set[str]:
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].tensor.shape

    def read(self, name: str, index: tuple[slice | np.ndarray, ...]) -> np.ndarray:
        """Reads `tensor[index]` as float32.

        Full rows are dequantised before columns are selected, because a quantisation block may span a column bound.
        """
        ((_, kind, shape, start, size), whole), (rows, *columns) = self._tensors[name], index
        data = whole[start : start + size].reshape(gguf.quants.quant_shape_to_byte_shape(shape, kind))
        if data.ndim == 1:
            return _to_float(data, kind)[rows]
        return _to_float(data[rows], kind)[:, *columns]


@functools.lru_cache(maxsize=2)
def open_gguf(path: Path) -> GgufFile:
    """Opens a file. Cached, because it is asked for its config, its tokenizer and its tensors."""
    return GgufFile(path)


def halves_order(out: int, heads: int) -> np.ndarray:
    """Returns, for each of our rows of a query or key tensor, its row in the file. Undoes llama.cpp's permutation.

    GGUF files of Llama and SmolLM3 store each head's rotary pairs next to each other: (0, 1), (2, 3), ...
    We follow Hugging Face, where they are half a head apart: (0, H // 2), (1, H // 2 + 1), ...
    """
    return np.arange(out).reshape(heads, out // heads // 2, 2).swapaxes(1, 2).reshape(out)
