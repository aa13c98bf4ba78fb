"""Safetensors in a Hugging Face folder: one file, or several behind an index."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from moral_jax.runtime import strict_json
from moral_jax.types import UserError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
READABLE = ("F32", "F16", "BF16")
INDICES = re.compile(r"(\w+\.)?embeddings\.(position_ids|token_type_ids)")  # 0, 1, 2, ... in older encoders' files
HEADER_LIMIT = 100_000_000  # bytes; that of the safetensors package


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def inside(folder: Path, name: str) -> Path:
    """The file of that name, unless it is a link that leads out of the folder.

    A snapshot in the cache of the Hugging Face hub is made of links to the `blobs` of the same model: those are inside.
    """
    path, home = folder / name, Path(os.path.realpath(folder))
    homes = [home]
    if home.parent.name == "snapshots" and home.parent.parent.name.startswith("models--"):
        homes.append(home.parent.parent / "blobs")
    target = Path(os.path.realpath(path))
    if not any(target.is_relative_to(h) for h in homes):
        raise UserError(f"{path}: is a link to {target}, which is outside of {folder}; put the file itself there")
    return path


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safetensors.safe_open(path, framework="numpy") as f:
            yield f
    except (safetensors.SafetensorError, OSError) as e:
        raise UserError(f"{path}: not a readable safetensors file ({e}); fetch or write it again") from e


def _header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as f:
            size = int.from_bytes(f.read(8), "little")
            if not 2 <= size <= HEADER_LIMIT:
                said = f"a header of {size} bytes; expected 2 to {HEADER_LIMIT}"
                raise UserError(f"{path}: not a readable safetensors file ({said}); fetch or write it again")
            return strict_json.parse(f.read(size), str(path))
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The tensors that a file holds, after a look at its header alone.

    The safetensors package checks that the tensors lie in the file, one after the other, and fill it. What it lets
    pass is a name that stands twice; and of a type that it does not know it would not say whose it is.
    """
    header = _header(path)
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        kind = tensor.get("dtype") if isinstance(tensor, dict) else None
        if kind not in READABLE and not (kind == "I64" and INDICES.fullmatch(name)):
            raise UserError(
                f"{path}: tensor {strict_json.shown(name)} is of type {strict_json.shown(kind)}; {', '.join(READABLE)} are read"
            )
    with _open(path):
        return {name: tuple(tensor["shape"]) for name, tensor in header.items()}


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of one small file, in its own type.

    Raises:
      UserError: there is none, or it is damaged.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    names = _shapes(path)
    with _open(path) as f:
        return {name: f.get_tensor(name) for name in names}


def _weight_map(folder: Path) -> dict[str, str]:
    """Tensor -> file, as the index has it; names that leave the folder are refused."""
    index = inside(folder, INDEX)
    weight_map = strict_json.read(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise UserError(f"{index}: expected an object under 'weight_map'; fetch it again")
    for name, file in weight_map.items():
        if not isinstance(file, str) or Path(file).name != file or file in ("", ".", "..") or "\0" in file:
            raise UserError(f"{index}: tensor {name!r} points to {file!r}; only plain file names are read")
        if not file.endswith(".safetensors"):
            raise UserError(f"{index}: tensor {name!r} points to {file!r}; only .safetensors files are read")
        if not inside(folder, file).exists():
            raise UserError(f"{index}: tensor {name!r} lies in {file!r}, which is not in {folder}")
    return weight_map


def _checked_against_index(folder: Path, weight_map: dict[str, str]) -> dict[Path, dict[str, tuple[int, ...]]]:
    """File -> its tensors and their shapes, which are those that the index says, no more and no fewer."""
    files = {file: _shapes(folder / file) for file in sorted(set(weight_map.values()))}
    for name, file in weight_map.items():
        if name not in files[file]:
            raise UserError(f"{folder / file}: the index promises tensor {name!r}, the file does not hold it")
    for file, shapes in files.items():
        for name in shapes:
            if weight_map.get(name) != file:
                said = f"puts into {weight_map[name]!r}" if name in weight_map else "does not list"
                raise UserError(f"{folder / file}: holds tensor {name!r}, which {INDEX} {said}")
    return {folder / file: shapes for file, shapes in files.items()}


def weight_files(folder: Path) -> dict[Path, dict[str, tuple[int, ...]]]:
    """The safetensors files of a folder, with the names and shapes of their tensors.

    Raises:
      UserError: there are none, one is damaged, or index and files contradict each other: names file and tensor.
    """
    if inside(folder, INDEX).exists():
        return _checked_against_index(folder, _weight_map(folder))
    single = inside(folder, SINGLE)
    if not single.exists():
        pickles = [p.name for p in folder.glob("*.bin")] + [p.name for p in folder.glob("*.pt*")]
        remedy = f"; {pickles[0]} is a pickle and is never read, convert it" if pickles else ""
        raise UserError(f"{folder}: holds neither {SINGLE} nor {INDEX}{remedy}")
    return {single: _shapes(single)}


class SafetensorsFolder:
    """Reads parts of tensors by name, in the file's own type."""

    def __init__(self, folder: Path):
        self._files: dict[str, Path] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for file, shapes in weight_files(folder).items():
            self._files |= dict.fromkeys(shapes, file)
            self._shapes |= shapes

    def names(self) -> set[str]:
        return set(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def read(self, name: str, index: tuple[slice, ...]) -> np.ndarray:
        """Reads `tensor[index]`, and of the file nothing else."""
        with _open(self._files[name]) as f:  # opened each time: what was read can leave memory
            return f.get_slice(name)[index]
