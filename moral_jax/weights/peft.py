"""Reads and writes adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

PEFT stores one tensor per layer and adapted linear map, named after the layer's weight, as [out, in]. Our leaves are
[in, out], stacked over layers where the kernel is. `_tensors` maps each leaf to its file tensors; `load` and `save`
both use that mapping. `_check_config` refuses any setting of the file that we would not compute.
"""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from moral_jax.config.model import PROJECTIONS, AdapterConfig
from moral_jax.models import adapters, parameters
from moral_jax.models.spec import Spec
from moral_jax.runtime import strict_json
from moral_jax.types import Array, Params, UserError
from moral_jax.weights import hf, shard_slices
from moral_jax.weights.load import flat, nest

CONFIG, TENSORS = hf.ADAPTER, "adapter_model.safetensors"
PREFIX = "base_model.model."
NAMES = {"a": "lora_A.weight", "b": "lora_B.weight", "magnitude": "lora_magnitude_vector"}
# READ: fields that are checked against the config. SILENT: fields that do not change the computation, or only repeat
# what the tensor names say. NEUTRAL: allowed values of fields that we do not support; null, false or empty always pass.
READ = ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora")
SILENT = (
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "qalora_group_size",
    "megatron_core",
)  # fmt: skip
NEUTRAL = {"bias": ("none",), "init_lora_weights": (True, "gaussian", "orthogonal", "eva")}


def _names(entry: parameters.Entry, leaf: str) -> list[str]:
    """Returns the names of the file tensors of an adapter leaf, one per layer."""
    return [PREFIX + name.removesuffix("weight") + NAMES[leaf] for name in shard_slices.sources(entry, is_gguf=False)]


def _tensors(
    spec: Spec, config: AdapterConfig, names: Iterable[str] = ()
) -> dict[str, tuple[parameters.Entry, list[str]]]:
    """Returns {path of a leaf: (entry of its kernel, names of its file tensors)}.

    Args:
      names: of all tensors in the file; an encoder's may be prefixed with its family.
    """
    entries = parameters.match_names(
        adapters.entries(spec, config), spec, {name.removeprefix(PREFIX) for name in names}
    )
    return {
        entry.path.removesuffix("kernel") + leaf: (entry, _names(entry, leaf))
        for entry in entries
        for leaf in adapters.leaves(config)
    }


def _check_config(file: Path, config: AdapterConfig) -> None:
    """Raises UserError if a setting of the file contradicts the config or is not supported."""
    settings = strict_json.read(file)
    if settings.get("peft_type") != "LORA":
        raise UserError(
            f"{file}: peft_type={strict_json.shown(settings.get('peft_type'))} is not supported; expected 'LORA'"
        )
    saved = {
        "kind": "dora" if settings.get("use_dora") else "lora",
        "rank": settings.get("r", 8),
        "alpha": settings.get("lora_alpha", 8),
        "scaling": "sqrt_rank" if settings.get("use_rslora") else "rank",
    }
    for field, value in saved.items():
        if (expected := getattr(config, field)) != value:
            raise UserError(
                f"config.adapter.{field}={expected!r}, but {file} says {strict_json.shown(value)}; set "
                f"--config.adapter.{field}={str(value)[:40]}"
            )
    for field, value in settings.items():
        if field not in READ + SILENT and value and value not in NEUTRAL.get(field, ()):
            raise UserError(
                f"{file}: {field}={strict_json.shown(value)} is not supported; only adapters without it can be read"
            )


def _check_tensors(file: Path, have: set[str], want: set[str]) -> None:
    """Raises UserError unless the file holds exactly the expected tensors."""
    remedy = "set --config.adapter.targets and --config.adapter.first_layer to match the file"
    for names, problem in ((want - have, "is missing"), (have - want, "has no place")):
        if names:
            raise UserError(f"{file}: tensor {min(names)!r} {problem}, and {len(names) - 1} more; {remedy}")


def load(folder: Path, spec: Spec, config: AdapterConfig, like: Params) -> Params:
    """Reads the adapters that PEFT saved to a folder, into their shards.

    Args:
      folder: contains both files.
      spec: the model that the adapters belong to.
      config: the adapter settings that the files must match.
      like: shapes, dtypes and shardings of the adapters' leaves.

    Raises:
      UserError: a setting contradicts the config or is not supported; a tensor is missing, unknown, or of the wrong
        shape. The message names the field or the tensor.
    """
    _check_config(hf.inside(folder, CONFIG), config)
    file = hf.inside(folder, TENSORS)
    tensors = hf.read_tensors(file)
    leaves, sources = flat(like), _tensors(spec, config, tensors)
    _check_tensors(file, set(tensors), {name for _, names in sources.values() for name in names})

    def build(path: str, entry: parameters.Entry, names: list[str]) -> Array:
        leaf = leaves[path]
        needed = leaf.shape[1:] if entry.stacked else leaf.shape
        for name in names:
            if tensors[name].shape != needed[::-1]:
                raise UserError(f"{file}: tensor {name!r} has shape {tensors[name].shape}, expected {needed[::-1]}")
        matrices = [tensors[name].T.astype(leaf.dtype) for name in names]
        array = np.stack(matrices) if entry.stacked else matrices[0]
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: array[index])

    return nest({path: build(path, *source) for path, source in sources.items()})


def _config(spec: Spec, config: AdapterConfig, base: str) -> dict[str, Any]:
    """Returns the contents of `adapter_config.json`."""
    entries = adapters.entries(spec, config)
    layers = sorted(set(itertools.chain.from_iterable(entry.layers or () for entry in entries)))
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
    read: Callable[[str], np.ndarray], spec: Spec, config: AdapterConfig, base: str, folder: Path, dtype: str
) -> None:
    """Writes `adapter_config.json` and `adapter_model.safetensors`.

    Args:
      read: returns an adapter leaf by its path.
      spec: the model that the adapters belong to.
      config: the adapter settings.
      base: name of the base model.
      folder: output folder.
      dtype: dtype of the tensors in the file.
    """
    tensors = {}
    for path, (entry, names) in _tensors(spec, config).items():
        leaf = read(path)
        for name, matrix in zip(names, leaf if entry.stacked else [leaf], strict=True):
            tensors[name] = np.array(matrix.T, jnp.dtype(dtype), order="C")
    save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
    hf.write_json(folder / CONFIG, _config(spec, config, base))
