"""One strict way from a weight file to parameters: every tensor used once, every parameter filled, in its shards."""

import collections
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from moral_jax import sharding
from moral_jax.models.parameters import POOLER, Entry, entries, match_names, may_ignore
from moral_jax.models.spec import EncoderSpec, Spec, from_hf
from moral_jax.runtime import strict_json
from moral_jax.types import Array, Params, UserError
from moral_jax.weights import gguf, hf, shard_slices

Index = tuple[slice | np.ndarray, ...]
Read = Callable[[str, Index], np.ndarray]


class Reader(Protocol):
    """A weight file: its tensors' names and shapes ([out, in]), and any part of one."""

    def names(self) -> set[str]: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def read(self, name: str, index: Index) -> np.ndarray: ...


def read_config(path: Path) -> dict[str, Any]:
    """The `config.json` of the model at `path` (folder or GGUF file), as Hugging Face wrote it or would write it."""
    if path.is_dir():
        return strict_json.read(hf.inside(path, "config.json"))
    return gguf.hf_config(gguf.open_gguf(path))


def read_spec(path: Path) -> Spec:
    """Reads what the model at `path` (folder or GGUF file) is, without its weights."""
    return from_hf(read_config(path), str(path / "config.json" if path.is_dir() else path))


def flat(tree: Params) -> dict[str, Any]:
    """Path -> leaf."""
    return {sharding.path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nest(leaves: dict[str, Any]) -> Params:
    """The tree again, from path -> leaf."""
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
            f"{path}: {len(missing)} tensors are missing, first {missing[0]!r}; take config and weights of one model"
        )
    extra = have - want
    if is_gguf:
        extra -= {"rope_freqs.weight"}  # read with the config
    else:
        extra = {n for n in extra if not may_ignore(n, spec)}
    if extra:
        raise UserError(
            f"{path}: {len(extra)} tensors have no place in this model, first {min(extra)!r}; take another model"
        )


def _check_shapes(path: Path, reader: Reader, names: list[str], needed: tuple[int, ...]) -> None:
    for name in names:
        if reader.shape(name) != needed:
            raise UserError(f"{path}: tensor {name!r} has shape {reader.shape(name)}, the config asks for {needed}")


def _reads(reader: Reader, entry: Entry, spec: Spec, is_gguf: bool) -> Read:
    """How parts of a parameter's file tensors are read, rows counted in our order."""
    if not (is_gguf and entry.rope_heads):
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
    """Casts pieces on their devices and puts them into the shards there, in place and in all shards at once.

    Every shard is as large as the others, so that its pieces are too: one program does for all devices.
    """

    def write(shard: Array, piece: Array, start: tuple[int, ...]) -> Array:
        return jax.lax.dynamic_update_slice(shard, piece.astype(shard.dtype), start)

    specs = (where.spec, where.spec, sharding.replicated(where.mesh).spec)
    return jax.jit(jax.shard_map(write, mesh=where.mesh, in_specs=specs, out_specs=where.spec), donate_argnums=0)


def _held(leaf: jax.ShapeDtypeStruct) -> dict[shard_slices.Bounds, list[jax.Device]]:
    """The shards that this process holds, each with the devices that hold it: all of them share one read."""
    held = collections.defaultdict(list)
    for device, index in leaf.sharding.addressable_devices_indices_map(leaf.shape).items():
        held[tuple(where.indices(size)[:2] for where, size in zip(index, leaf.shape, strict=True))].append(device)
    return held


def _build(read: Read, entry: Entry, names: list[str], leaf: jax.ShapeDtypeStruct, piece_bytes: int) -> Array:
    """One parameter, filled on its devices: of each shard one piece, then of each the next."""
    held, where = _held(leaf), leaf.sharding
    parts = [size // part for size, part in zip(leaf.shape, where.shard_shape(leaf.shape), strict=True)]
    array = _zeros(leaf.shape, leaf.dtype, where)()
    share = piece_bytes // len(where.addressable_devices)
    plans = [shard_slices.cut(entry, names, leaf.shape, bounds, share) for bounds in held]
    for together in zip(*plans, strict=True):
        placed = []
        for piece, devices in zip(together, held.values(), strict=True):
            numbers = read(piece.tensor, piece.index)
            numbers = numbers.T if entry.transpose else numbers  # turned on its way to the device
            numbers = numbers[None] if entry.stacked else numbers
            placed += [jax.device_put(numbers, device) for device in devices]
        shape = tuple(size * n for size, n in zip(placed[0].shape, parts, strict=True))
        block = jax.make_array_from_single_device_arrays(shape, where, placed)
        array = _writer(where)(array, block, together[0].start)
        jax.block_until_ready(array)  # or pieces would pile up on the host
    return array


def _loaders(
    path: Path, reader: Reader, entries: tuple[Entry, ...], spec: Spec, like: Params, piece_bytes: int
) -> dict[str, Callable[[], Array]]:
    """What loads each parameter, by its path; shapes are checked first."""
    is_gguf, leaves, out = not path.is_dir(), flat(like), {}
    for entry in entries:
        names, leaf = shard_slices.sources(entry, is_gguf), leaves[entry.path]
        _check_shapes(path, reader, names, shard_slices.file_shape(entry, leaf.shape))
        read = _reads(reader, entry, spec, is_gguf)
        out[entry.path] = functools.partial(_build, read, entry, names, leaf, piece_bytes)
    return out


def parameters(
    path: Path, spec: Spec, like: Params, piece_bytes: int, frozen_layers: int = 0
) -> dict[str, Callable[[], Array]]:
    """What loads each parameter, by its path. Names and shapes of all are checked first.

    Args:
      path: a folder of safetensors or a GGUF file.
      spec: what `read_spec` says of it.
      like: shapes, types and places of the backbone's parameters.
      piece_bytes: the most of a file that is held in host memory at once.
      frozen_layers: how many of the lowest layers lie in a group of their own.

    Raises:
      UserError: a tensor is unknown, missing, of the wrong shape, or in an unreadable type.
    """
    is_gguf = not path.is_dir()
    reader: Reader = gguf.open_gguf(path) if is_gguf else hf.SafetensorsFolder(path)
    named = match_names(entries(spec, frozen_layers), spec, reader.names())
    wanted = {name for entry in named for name in shard_slices.sources(entry, is_gguf)}
    _check_names(path, reader.names(), wanted, spec, is_gguf)
    return _loaders(path, reader, named, spec, like, piece_bytes)


def pooler(path: Path, spec: EncoderSpec, like: Params, piece_bytes: int) -> Params:
    """{"pooler": ...} of an encoder's folder, or {} where it has none; arguments and errors as in `parameters`."""
    reader = hf.SafetensorsFolder(path)
    named = match_names(POOLER, spec, reader.names())
    if not reader.names().issuperset(entry.hf for entry in named):
        return {}
    return nest({name: make() for name, make in _loaders(path, reader, named, spec, like, piece_bytes).items()})


def _as_it_is(leaf: Array, path: str) -> Array:
    return leaf


def load(
    path: Path,
    spec: Spec,
    like: Params,
    piece_bytes: int,
    keep: Callable[[Array, str], Array | Params] = _as_it_is,
    frozen_layers: int = 0,
) -> Params:
    """Loads a backbone's parameters straight into their shards; arguments and errors as in `parameters`.

    Each process reads what its own devices hold and nothing else. Of every parameter, once it is whole, stays what
    `keep` makes of it and its path.
    """
    return nest(
        {name: keep(make(), name) for name, make in parameters(path, spec, like, piece_bytes, frozen_layers).items()}
    )
