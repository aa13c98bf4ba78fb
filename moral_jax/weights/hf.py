"""Reads safetensors in a Hugging Face folder: a single file, or several files with an index.

Weight files are untrusted: headers and index are validated before any tensor is read. `inside` refuses links that leave
the folder. `_shapes` parses the header strictly and checks the dtypes; the safetensors package checks the offsets.
`weight_files` compares the index with the headers: both must list the same tensors, each in one file.
`SafetensorsFolder` is the reader that `load` uses.
"""

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
ADAPTER = "adapter_config.json"  # of PEFT
READABLE = ("F32", "F16", "BF16")
INDICES = re.compile(r"(\w+\.)?embeddings\.(position_ids|token_type_ids)")  # 0, 1, 2, ... in files of older encoders
HEADER_LIMIT = 100_000_000  # bytes; the limit of the safetensors package


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Writes an indented JSON file."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def inside(folder: Path, name: str) -> Path:
    """Returns the path of a file in the folder, which need not exist.

    A snapshot in the Hugging Face hub's cache consists of links to the model's own `blobs` folder; these are allowed.

    Raises:
      UserError: the path is a link that leads out of the folder.
    """
    path, root = folder / name, Path(os.path.realpath(folder))
    roots = [root]
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--"):
        roots.append(root.parent.parent / "blobs")
    target = Path(os.path.realpath(path))
    if not any(target.is_relative_to(allowed) for allowed in roots):
        raise UserError(f"{path}: is a link to {target}, which is outside {folder}; put the file itself there")
    return path


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Opens a safetensors file; turns errors of the package into a UserError."""
    try:
        with safetensors.safe_open(path, framework="numpy") as f:
            yield f
    except (safetensors.SafetensorError, OSError) as e:
        raise UserError(f"{path}: not a readable safetensors file ({e}); fetch or write it again") from e


def _header(path: Path) -> dict[str, Any]:
    """Returns the JSON header of a safetensors file, parsed strictly."""
    try:
        with path.open("rb") as f:
            size = int.from_bytes(f.read(8), "little")
            if not 2 <= size <= HEADER_LIMIT:
                reason = f"a header of {size} bytes; expected 2 to {HEADER_LIMIT}"
                raise UserError(f"{path}: not a readable safetensors file ({reason}); fetch or write it again")
            return strict_json.parse(f.read(size), str(path))
    except OSError as e:
        raise UserError(f"{path}: cannot be read ({e.strerror})") from e


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Returns {tensor: shape} from the header of a file, without reading the tensors.

    The safetensors package checks that the tensors fill the file without gaps or overlaps. It accepts duplicate names,
    however, and does not name the tensor whose type is unknown. Both are checked here.
    """
    header = _header(path)
    header.pop("__metadata__", None)
    for name, tensor in header.items():
        kind = tensor.get("dtype") if isinstance(tensor, dict) else None
        if kind not in READABLE and not (kind == "I64" and INDICES.fullmatch(name)):
            raise UserError(
                f"{path}: tensor {strict_json.shown(name)} is of type {strict_json.shown(kind)}; "
                f"{', '.join(READABLE)} are read"
            )
    with _open(path):
        return {name: tuple(tensor["shape"]) for name, tensor in header.items()}


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads all tensors of one small file, in the file's dtypes.

    Raises:
      UserError: the file is missing or damaged.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    names = _shapes(path)
    with _open(path) as f:
        return {name: f.get_tensor(name) for name in names}


def _weight_map(folder: Path) -> dict[str, str]:
    """Returns {tensor: file name} from the index. Refuses names that lead out of the folder."""
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
    """Returns {file: {tensor: shape}}, after checking that the files hold exactly the tensors listed in the index."""
    files = {file: _shapes(folder / file) for file in sorted(set(weight_map.values()))}
    for name, file in weight_map.items():
        if name not in files[file]:
            raise UserError(f"{folder / file}: the index promises tensor {name!r}, the file does not hold it")
    for file, shapes in files.items():
        for name in shapes:
            if weight_map.get(name) != file:
                conflict = f"puts into {weight_map[name]!r}" if name in weight_map else "does not list"
                raise UserError(f"{folder / file}: holds tensor {name!r}, which {INDEX} {conflict}")
    return {folder / file: shapes for file, shapes in files.items()}


def _check_one_model(folder: Path) -> None:
    """Raises UserError if a folder holds a second set of weights: transformers would compute another model."""
    single, index, adapter = (inside(folder, name) for name in (SINGLE, INDEX, ADAPTER))
    if single.exists() and index.exists() and set(_weight_map(folder).values()) != {SINGLE}:
        raise UserError(
            f"{folder}: holds {SINGLE} and also the files of {INDEX}, which are two sets of weights; remove one of "
            f"them (transformers reads {SINGLE})"
        )
    if adapter.exists():
        raise UserError(
            f"{folder}: holds an adapter ({ADAPTER}) beside the weights, which transformers would apply; move it into "
            f"a folder of its own and name that in --config.adapter.path, or remove it"
        )


def weight_files(folder: Path) -> dict[Path, dict[str, tuple[int, ...]]]:
    """Returns {file: {tensor: shape}} for the safetensors files of a folder.

    Raises:
      UserError: no file exists, a file is damaged, the index and the files contradict each other, or the folder holds
        more than one model. The message names the file and the tensor.
    """
    _check_one_model(folder)
    if inside(folder, INDEX).exists():
        return _checked_against_index(folder, _weight_map(folder))
    single = inside(folder, SINGLE)
    if not single.exists():
        pickles = [p.name for p in folder.glob("*.bin")] + [p.name for p in folder.glob("*.pt*")]
        remedy = f"; {pickles[0]} is a pickle and is never read, convert it" if pickles else ""
        raise UserError(f"{folder}: holds neither {SINGLE} nor {INDEX}{remedy}")
    return {single: _shapes(single)}


class SafetensorsFolder:
    """A folder of safetensors, from which parts of tensors are read by name, in the file's dtypes."""

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
        """Reads `tensor[index]` and nothing else of the file."""
        with _open(self._files[name]) as f:  # reopened each time, so that pages already read can leave memory
            return f.get_slice(name)[index]
