"""Safetensors in a Hugging Face folder: one file, or several behind an index."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from moral_jax.types import UserError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; errors name the file and the place."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise UserError(f"{path}: no such file") from e
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: not valid JSON ({e})") from e
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def _files(folder: Path) -> dict[str, Path]:
    """Tensor name -> file, and refuses names that leave the folder."""
    index = folder / INDEX
    if not index.exists():
        single = folder / SINGLE
        if not single.exists():
            pickles = [p.name for p in folder.glob("*.bin")] + [p.name for p in folder.glob("*.pt*")]
            remedy = f"; {pickles[0]} is a pickle and is never read, convert it" if pickles else ""
            raise UserError(f"{folder}: holds neither {SINGLE} nor {INDEX}{remedy}")
        with _open(single) as f:
            return dict.fromkeys(f.keys(), single)
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise UserError(f"{index}: expected an object under 'weight_map'")
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file or file in ("", ".", ".."):
            raise UserError(f"{index}: tensor {name!r} points to {file!r}; only plain file names are read")
        if not (folder / file).exists():
            raise UserError(f"{index}: tensor {name!r} lies in {file!r}, which is not in {folder}")
    return {name: folder / file for name, file in weight_map.items()}


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safetensors.safe_open(path, framework="numpy") as f:
            yield f
    except safetensors.SafetensorError as e:
        raise UserError(f"{path}: not a readable safetensors file ({e})") from e


class SafetensorsFolder:
    """Reads tensors by name, one at a time, as float32."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._files = _files(folder)

    def names(self) -> set[str]:
        return set(self._files)

    def read(self, name: str) -> np.ndarray:
        with _open(self._files[name]) as f:
            if name not in f.keys():  # noqa: SIM118  (safe_open is no container)
                raise UserError(f"{self._files[name]}: the index promises tensor {name!r}, the file does not hold it")
            tensor = f.get_tensor(name)
        if tensor.dtype.name not in ("float32", "float16", "bfloat16"):
            raise UserError(
                f"{self._files[name]}: tensor {name!r} is {tensor.dtype.name}; float32, float16 and bfloat16 are read"
            )
        return tensor.astype(np.float32)
