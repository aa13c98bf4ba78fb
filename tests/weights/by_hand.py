"""Files of weights: safetensors written byte by byte, for what no library would write, and GGUF ones."""

import json
import math
from pathlib import Path
from typing import Any

import gguf

SIZES = {"F32": 4, "BF16": 2, "F16": 2}


def header(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> dict[str, Any]:
    """The right header of these tensors (type, shape), one after the other."""
    out, end = {}, 0
    for name, (kind, shape) in tensors.items():
        start, end = end, end + SIZES[kind] * math.prod(shape)
        out[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    return out


def write(path: Path, head: dict[str, Any] | bytes, data: int, said: int | None = None) -> None:
    """A header, `data` bytes of zeros that take no room on disk, and a size of the header that may be a lie."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    with path.open("wb") as f:
        f.write((len(text) if said is None else said).to_bytes(8, "little") + text)
        f.truncate(8 + len(text) + data)


def finish(writer: gguf.GGUFWriter) -> None:
    """Writes all that was added to a GGUF file, and closes it."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
