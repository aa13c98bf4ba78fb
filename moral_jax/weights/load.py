"""One strict way from a weight file to parameters: every tensor used once, every parameter filled."""

import re
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from moral_jax.models import api
from moral_jax.models.spec import DecoderSpec, from_hf
from moral_jax.types import Params, UserError
from moral_jax.weights import gguf, hf, keymap


class Reader(Protocol):
    """A weight file: its tensors' names, and any one of them as a float32 array."""

    def names(self) -> set[str]: ...
    def read(self, name: str) -> np.ndarray: ...


def read_spec(path: Path) -> DecoderSpec:
    """Reads what the model at `path` (folder or GGUF file) is, without its weights."""
    if path.is_dir():
        return from_hf(hf.read_json(path / "config.json"), str(path / "config.json"))
    return from_hf(gguf.hf_config(gguf.open_gguf(path)), str(path))


def _abstract(spec: DecoderSpec) -> dict[str, jax.ShapeDtypeStruct]:
    """Flat path -> shape of every parameter."""
    tree = jax.eval_shape(lambda: api.init_decoder(spec, jax.random.key(0)))
    return {
        jax.tree_util.keystr(k, simple=True, separator="/"): v for k, v in jax.tree_util.tree_leaves_with_path(tree)
    }


def _nest(flat: dict[str, Any]) -> Params:
    tree: Params = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = leaf
    return tree


def _sources(entry: keymap.Entry, is_gguf: bool, layers: int) -> list[str]:
    name = entry.gguf if is_gguf else entry.hf
    return [name.format(layer) for layer in range(layers)] if "{}" in name else [name]


def _read(reader: Reader, name: str, entry: keymap.Entry, spec: DecoderSpec, is_gguf: bool) -> np.ndarray:
    tensor = reader.read(name)
    if is_gguf and entry.rope_heads:
        tensor = gguf.interleaved_to_halves(tensor, getattr(spec, entry.rope_heads))
    return tensor.T if entry.transpose else tensor


def _check_names(path: Path, have: set[str], want: set[str], spec: DecoderSpec, is_gguf: bool) -> None:
    if missing := sorted(want - have):
        raise UserError(f"{path}: {len(missing)} tensors are missing, first {missing[0]!r}")
    extra = have - want
    if is_gguf:
        extra -= {"rope_freqs.weight"}  # read with the config
    else:
        extra = {n for n in extra if not any(re.fullmatch(p, n) for p in keymap.HF_DERIVED)}
        extra -= set(keymap.HF_TIED) if spec.tied_embeddings else set()
    if extra:
        raise UserError(f"{path}: {len(extra)} tensors have no place in this model, first {min(extra)!r}")


def load(path: Path, spec: DecoderSpec, shardings: Params | None = None) -> Params:
    """Loads decoder parameters, float32, each placed as soon as it is read.

    Args:
      path: a folder of safetensors or a GGUF file.
      spec: what `read_spec` says of it.
      shardings: tree of shardings like the parameters'; None places on the default device.

    Raises:
      UserError: a tensor is unknown, missing, of the wrong shape, or in an unreadable type.
    """
    is_gguf = not path.is_dir()
    reader: Reader = gguf.open_gguf(path) if is_gguf else hf.SafetensorsFolder(path)
    entries = keymap.DECODER if spec.tied_embeddings else (*keymap.DECODER, keymap.UNEMBEDDING)
    sources = {entry: _sources(entry, is_gguf, spec.layers) for entry in entries}
    _check_names(path, reader.names(), {n for names in sources.values() for n in names}, spec, is_gguf)
    expected = _abstract(spec)
    flat = {}
    for entry, names in sources.items():
        want = expected[entry.path].shape
        stacked = np.empty(want, np.float32)
        for layer, name in enumerate(names):
            tensor = _read(reader, name, entry, spec, is_gguf)
            target = stacked[layer] if len(want) > tensor.ndim else stacked
            if tensor.shape != target.shape:
                found = tensor.T.shape if entry.transpose else tensor.shape
                needed = target.T.shape if entry.transpose else target.shape
                raise UserError(f"{path}: tensor {name!r} has shape {found}, the config asks for {needed}")
            target[...] = tensor
        flat[entry.path] = stacked
    tree = _nest(flat)
    if shardings is None:
        return jax.tree.map(jnp.asarray, tree)
    return jax.device_put(tree, shardings)
