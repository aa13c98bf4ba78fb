"""Loads weight files strictly: every tensor is used once, and every parameter is filled directly in its shards.

1. A reader opens the safetensors folder or GGUF file and lists its tensors' names and shapes.
2. Names and shapes are checked against the config before any data is read.
3. `_build` allocates a parameter's shards as zeros on their devices, then fills all shards piece by piece in step.
   Devices of this process that hold the same shard share one read.
4. `_writer` casts and inserts each piece on its device. The host never holds more than `piece_bytes` of a file.
"""

import collections
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from moral_jax import sharding
from moral_jax.models.encoder_names import NAMES
from moral_jax.models.families import from_hf
from moral_jax.models.parameters import (
    EMBEDDING,
    UNEMBEDDING,
    Entry,
    entries,
    match_names,
    may_ignore,
)
from moral_jax.models.parameters import pooler as pooler_entries
from moral_jax.models.spec import DecoderSpec, EncoderSpec, Spec
from moral_jax.runtime import strict_json
from moral_jax.types import Array, Params, UserError
from moral_jax.weights import gguf, gguf_config, hf, shard_slices

Index = tuple[slice, ...]
Read = Callable[[str, Index], np.ndarray]


class Reader(Protocol):
    """An open weight file, with the names and shapes ([out, in]) of its tensors; reads any part of a tensor."""

    def names(self) -> set[str]: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def read(self, name: str, index: Index) -> np.ndarray: ...


def read_config(path: Path) -> dict[str, Any]:
    """Returns the Hugging Face config of the model at `path`.

    From a folder this is `config.json`; from a GGUF file, the equivalent config built from the metadata.
    """
    if path.is_dir():
        return strict_json.read(hf.inside(path, "config.json"))
    return gguf_config.hf_config(gguf.open_gguf(path))


def read_spec(path: Path) -> Spec:
    """Reads the spec of the model at `path` (folder or GGUF file), without its weights."""
    return from_hf(read_config(path), str(path / "config.json" if path.is_dir() else path))


def flat(tree: Params) -> dict[str, Any]:
    """Returns a tree of parameters as {path: leaf}, with "/"-separated paths."""
    return {sharding.path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nest(leaves: dict[str, Any]) -> Params:
    """Returns the tree of parameters from {path: leaf}; the inverse of `flat`."""
    tree: Params = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = leaf
    return tree


def _check_names(path: Path, have: set[str], want: set[str], spec: Spec, is_gguf: bool) -> None:
    if missing := sorted(want - have):
        raise UserError(
            f"{path}: {len(missing)} tensors are missing, first {missing[0]!r}; use the config and weights of one model"
        )
    extra = have - want
    if is_gguf:
        extra -= gguf_config.ROPE_TENSORS
    else:
        extra = {n for n in extra if not may_ignore(n, spec)}
    if extra:
        raise UserError(
            f"{path}: {len(extra)} tensors have no place in this model, first {min(extra)!r}; use another model"
        )


def _check_tied(path: Path, reader: Reader, spec: Spec, piece_bytes: int) -> None:
    """Refuses a head that differs from the embeddings which the config says it is tied to.

    Such files come from training the head or the embeddings alone; transformers uses both matrices.
    """
    head, embedding = UNEMBEDDING.hf, EMBEDDING.hf
    if not (isinstance(spec, DecoderSpec) and spec.tied_embeddings and head in reader.names()):
        return
    rows, width = reader.shape(embedding)
    step = max(1, piece_bytes // (8 * width))  # rows of both, as float32

    def read(name: str, at: int) -> np.ndarray:
        return reader.read(name, (slice(at, min(at + step, rows)),)).astype(np.float32)

    is_same = reader.shape(head) == (rows, width) and all(
        np.array_equal(read(head, at), read(embedding, at)) for at in range(0, rows, step)
    )
    if not is_same:
        raise UserError(
            f"{path}: {head!r} differs from {embedding!r}, but config.json says that they are one "
            f"(tie_word_embeddings); set tie_word_embeddings to false there to use both, or remove the tensor"
        )


def _check_shapes(path: Path, reader: Reader, names: list[str], needed: tuple[int, ...]) -> None:
    for name in names:
        if reader.shape(name) != needed:
            raise UserError(f"{path}: tensor {name!r} has shape {reader.shape(name)}, the config requires {needed}")


def _reads(reader: Reader, entry: Entry, spec: Spec) -> Read:
    """Returns a function that reads parts of a parameter's file tensors as Hugging Face has them.

    GGUF files of some families interleave the rotary pairs of query and key rows; the row indices are mapped to the
    file's order. Those of Gemma store one more than the scales of its norms.
    """
    if not isinstance(reader, gguf.GgufFile):
        return reader.read
    if entry.offset:
        return lambda name, index: reader.read(name, index) - 1
    if not entry.rope_heads:
        return reader.read
    heads = getattr(spec, entry.rope_heads)

    def read(name: str, index: Index) -> np.ndarray:
        rows, *columns = index
        return reader.read(name, (gguf.halves_order(reader.shape(name)[0], heads)[rows], *columns))

    return read


@functools.cache
def _zeros(shape: tuple[int, ...], dtype: jnp.dtype, where: NamedSharding) -> Callable[[], Array]:
    return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=where)


@functools.cache
def _writer(where: NamedSharding) -> Callable[[Array, Array, tuple[int, ...]], Array]:
    """Returns a compiled function that casts pieces on their devices and inserts them into all shards in place.

    All shards have one shape, and so have the pieces inserted together: one program serves all devices.
    """

    def write(shard: Array, piece: Array, start: tuple[int, ...]) -> Array:
        return jax.lax.dynamic_update_slice(shard, piece.astype(shard.dtype), start)

    specs = (where.spec, where.spec, PartitionSpec())
    return jax.jit(jax.shard_map(write, mesh=where.mesh, in_specs=specs, out_specs=where.spec), donate_argnums=0)


def _local_shards(leaf: jax.ShapeDtypeStruct) -> dict[shard_slices.Bounds, list[jax.Device]]:
    """Returns this process's shards as {bounds: devices}. Devices with equal shards share one read."""
    shards = collections.defaultdict(list)
    for device, index in leaf.sharding.addressable_devices_indices_map(leaf.shape).items():
        bounds = tuple(part.indices(size)[:2] for part, size in zip(index, leaf.shape, strict=True))
        shards[bounds].append(device)
    return shards


def _build(read: Read, entry: Entry, names: list[str], leaf: jax.ShapeDtypeStruct, piece_bytes: int) -> Array:
    """Returns one parameter, filled on its devices: the first piece of every shard, then the next of every shard."""
    shards, where = _local_shards(leaf), leaf.sharding
    counts = [size // part for size, part in zip(leaf.shape, where.shard_shape(leaf.shape), strict=True)]
    array = _zeros(leaf.shape, leaf.dtype, where)()
    share = piece_bytes // len(where.addressable_devices)
    plans = [shard_slices.cut(entry, names, leaf.shape, bounds, share) for bounds in shards]
    for pieces in zip(*plans, strict=True):
        placed = []
        for piece, devices in zip(pieces, shards.values(), strict=True):
            numbers = read(piece.tensor, piece.index)
            numbers = numbers.T if entry.transpose else numbers  # a view: the copy to the device transposes
            numbers = numbers[None] if entry.stacked else numbers
            placed += [jax.device_put(numbers, device) for device in devices]
        shape = tuple(size * n for size, n in zip(placed[0].shape, counts, strict=True))
        block = jax.make_array_from_single_device_arrays(shape, where, placed)
        array = _writer(where)(array, block, pieces[0].start)
        jax.block_until_ready(array)  # otherwise pieces would pile up in host memory
    return array


def _loaders(
    path: Path, reader: Reader, entries: tuple[Entry, ...], spec: Spec, like: Params, piece_bytes: int
) -> dict[str, Callable[[], Array]]:
    """Returns {path: function that loads the parameter}, after checking all shapes."""
    is_gguf, leaves = not path.is_dir(), flat(like)
    out: dict[str, Callable[[], Array]] = {}
    for entry in entries:
        names, leaf = shard_slices.sources(entry, is_gguf), leaves[entry.path]
        _check_shapes(path, reader, names, shard_slices.file_shape(entry, leaf.shape))
        read = _reads(reader, entry, spec)
        out[entry.path] = functools.partial(_build, read, entry, names, leaf, piece_bytes)
    return out


def parameters(
    path: Path, spec: Spec, like: Params, piece_bytes: int, frozen_layers: int = 0
) -> dict[str, Callable[[], Array]]:
    """Returns {path: function that loads the parameter}, after checking the names and shapes of all tensors.

    Args:
      path: a folder of safetensors or a GGUF file.
      spec: the result of `read_spec(path)`.
      like: shapes, dtypes and shardings of the backbone's parameters.
      piece_bytes: maximum amount of file data in host memory at once.
      frozen_layers: number of lowest layers that form a group of their own.

    Raises:
      UserError: a tensor is unknown, missing, of the wrong shape, or in an unreadable type.
    """
    is_gguf = not path.is_dir()
    reader: Reader = gguf.open_gguf(path) if is_gguf else hf.SafetensorsFolder(path)
    matched = match_names(entries(spec, frozen_layers), spec, reader.names())
    expected = {name for entry in matched for name in shard_slices.sources(entry, is_gguf)}
    _check_names(path, reader.names(), expected, spec, is_gguf)
    loaders = _loaders(path, reader, matched, spec, like, piece_bytes)
    _check_tied(path, reader, spec, piece_bytes)
    return loaders


def pooler(path: Path, spec: EncoderSpec, like: Params, piece_bytes: int) -> Params:
    """Loads an encoder's pooler as {"pooler": ...}, or returns {} if the folder has none.

    Args:
      path: a folder of safetensors.
      spec: the result of `read_spec(path)`.
      like: shapes, dtypes and shardings of the pooler's parameters.
      piece_bytes: maximum amount of file data in host memory at once.

    Raises:
      UserError: a file is missing or damaged, or a tensor has the wrong shape or an unreadable type.
    """
    reader = hf.SafetensorsFolder(path)
    matched = match_names(pooler_entries(spec), spec, reader.names())
    if not NAMES[spec.family].pooler_prefixed:  # it belongs to the class with a head
        matched = pooler_entries(spec)
    if not reader.names().issuperset(entry.hf for entry in matched):
        return {}
    return nest({name: make() for name, make in _loaders(path, reader, matched, spec, like, piece_bytes).items()})


def _unchanged(leaf: Array, path: str) -> Array:
    return leaf


def load(
    path: Path,
    spec: Spec,
    like: Params,
    piece_bytes: int,
    keep: Callable[[Array, str], Array | Params] = _unchanged,
    frozen_layers: int = 0,
) -> Params:
    """Loads a backbone's parameters directly into their shards. Each process reads only what its devices hold.

    Args:
      path: a folder of safetensors or a GGUF file.
      spec: the result of `read_spec(path)`.
      like: shapes, dtypes and shardings of the backbone's parameters.
      piece_bytes: maximum amount of file data in host memory at once.
      keep: called with each complete parameter and its path; its result replaces the parameter (cast or quantised).
      frozen_layers: number of lowest layers that form a group of their own.

    Raises:
      UserError: a tensor is unknown, missing, of the wrong shape, or in an unreadable type.
    """
    return nest(
        {name: keep(make(), name) for name, make in parameters(path, spec, like, piece_bytes, frozen_layers).items()}
    )
