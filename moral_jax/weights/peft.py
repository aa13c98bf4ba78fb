"""Adapters in PEFT's files: `adapter_config.json` and `adapter_model.safetensors`."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from moral_jax.config.model import PROJECTIONS, AdapterConfig
from moral_jax.models import adapters, parameters
from moral_jax.models.spec import DecoderSpec
from moral_jax.runtime import strict_json
from moral_jax.types import Array, Params, UserError
from moral_jax.weights import hf, shard_slices
from moral_jax.weights.load import flat, nest

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
NAMES = {"a": "lora_A.weight", "b": "lora_B.weight", "magnitude": "lora_magnitude_vector"}
# Fields that are read here; that say nothing about the numbers, or nothing that the tensors' names do not say; and the
# only value that others may have, where that is not null, false or empty
READ = ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora")
SILENT = (
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "qalora_group_size",
    "megatron_core",
)  # fmt: skip
NEUTRAL = {"bias": ("none",), "init_lora_weights": (True, "gaussian", "orthogonal", "eva")}


def _names(entry: parameters.Entry, leaf: str) -> list[str]:
    """The tensors of an adapter's leaf: one for each layer."""
    return [PREFIX + name.removesuffix("weight") + NAMES[leaf] for name in shard_slices.sources(entry, is_gguf=False)]


def _places(spec: DecoderSpec, config: AdapterConfig) -> dict[str, tuple[parameters.Entry, list[str]]]:
    """Every leaf by its path: the kernel that it stands beside, and its tensors."""
    return {
        entry.path.removesuffix("kernel") + leaf: (entry, _names(entry, leaf))
        for entry in adapters.entries(spec, config)
        for leaf in adapters.leaves(config)
    }


def _check_config(file: Path, config: AdapterConfig) -> None:
    """Refuses what contradicts the config, and what is not computed here."""
    said = strict_json.read(file)
    if said.get("peft_type") != "LORA":
        raise UserError(
            f"{file}: peft_type={strict_json.shown(said.get('peft_type'))} is not supported; expected 'LORA'"
        )
    theirs = {
        "kind": "dora" if said.get("use_dora") else "lora",
        "rank": said.get("r", 8),
        "alpha": said.get("lora_alpha", 8),
        "scaling": "sqrt_rank" if said.get("use_rslora") else "rank",
    }
    for field, value in theirs.items():
        if (mine := getattr(config, field)) != value:
            raise UserError(
                f"config.adapter.{field}={mine!r}, but {file} says {strict_json.shown(value)}; set "
                f"--config.adapter.{field}={str(value)[:40]}"
            )
    for field, value in said.items():
        if field not in READ + SILENT and value and value not in NEUTRAL.get(field, ()):
            raise UserError(
                f"{file}: {field}={strict_json.shown(value)} is not supported; only adapters without it can be read"
            )


def _check_tensors(file: Path, have: set[str], want: set[str]) -> None:
    remedy = "set --config.adapter.targets and --config.adapter.first_layer to what the file holds"
    for names, said in ((want - have, "is missing"), (have - want, "has no place")):
        if names:
            raise UserError(f"{file}: tensor {min(names)!r} {said}, and {len(names) - 1} more; {remedy}")


def load(folder: Path, spec: DecoderSpec, config: AdapterConfig, like: Params) -> Params:
    """Reads the adapters that PEFT saved to a folder.

    Args:
      folder: holds the two files.
      spec: the decoder that they belong to.
      config: what they must be.
      like: shapes, types and places of our adapters.

    Raises:
      UserError: a setting contradicts the config or is not supported; a tensor is missing, unknown, or of the wrong
        shape. Names the field or the tensor.
    """
    _check_config(hf.inside(folder, CONFIG), config)
    file = hf.inside(folder, TENSORS)
    tensors = hf.read_tensors(file)
    leaves, places = flat(like), _places(spec, config)
    _check_tensors(file, set(tensors), {name for _, names in places.values() for name in names})

    def build(path: str, entry: parameters.Entry, names: list[str]) -> Array:
        leaf = leaves[path]
        needed = leaf.shape[1:] if entry.stacked else leaf.shape
        for name in names:
            if tensors[name].shape != needed[::-1]:
                raise UserError(f"{file}: tensor {name!r} has shape {tensors[name].shape}, expected {needed[::-1]}")
        matrices = [tensors[name].T.astype(leaf.dtype) for name in names]
        whole = np.stack(matrices) if entry.stacked else matrices[0]
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: whole[index])

    return nest({path: build(path, *place) for path, place in places.items()})


def _config(spec: DecoderSpec, config: AdapterConfig, base: str) -> dict[str, Any]:
    entries = adapters.entries(spec, config)
    layers = sorted(set(itertools.chain.from_iterable(entry.layers for entry in entries)))
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "use_rslora": config.scaling == "sqrt_rank",
        "use_dora": config.kind == "dora",
        "target_modules": [name for name in PROJECTIONS if name in {entry.projection for entry in entries}],
        "layers_to_transform": layers if config.first_layer else None,
        "bias": "none",
        "lora_dropout": 0.0,
    }


def save(
    read: Callable[[str], np.ndarray], spec: DecoderSpec, config: AdapterConfig, base: str, folder: Path, dtype: str
) -> None:
    """Writes both files.

    Args:
      read: a leaf of the adapters by its path.
      spec, config: what they belong to, and what they are.
      base: the name of the model.
      folder: where the files go.
      dtype: of the numbers in them.
    """
    tensors = {}
    for path, (entry, names) in _places(spec, config).items():
        whole = read(path)
        for name, matrix in zip(names, whole if entry.stacked else [whole], strict=True):
            tensors[name] = np.array(matrix.T, jnp.dtype(dtype), order="C")
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    hf.write_json(folder / CONFIG, _config(spec, config, base))
