"""Where the numbers of a run come from: data, weights, versions, device."""

import platform
from pathlib import Path
from typing import Any

import jax

from moral_jax.config import Config
from moral_jax.respondents.base import Respondent
from moral_jax.respondents.encode import ModelFiles
from moral_jax.runs.directory import versions
from moral_jax.runtime.files import sha256
from moral_jax.types import UserError
from moral_jax.weights import hf, peft, source

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "transformers", "tokenizers")
LIBRARIES_WITHOUT_MODEL = ("numpy", "scipy")


def weight_hashes(path: Path) -> dict[str, str]:
    """Returns the SHA-256 of every weight file."""
    weight_files = [path] if path.is_file() else sorted(hf.weight_files(path))
    return {file.name: sha256(file) for file in weight_files}


def _adapter_hashes(folder: Path) -> dict[str, str]:
    tensors = folder / peft.TENSORS
    if not tensors.is_file():
        raise UserError(f"{tensors}: no such file; config.adapter.path names a folder that PEFT has saved")
    return weight_hashes(tensors)


def about_model(config: Config, files: ModelFiles) -> dict[str, Any]:
    """Returns what a run records about a local model."""
    adapter = _adapter_hashes(Path(config.adapter.path)) if config.adapter.path else {}
    return {
        "path": config.model.path,
        "revision": source.revision(files.path),
        "family": files.model.spec.family,
        "sha256": weight_hashes(files.path) | adapter,
    }


def of_local(files: ModelFiles, model: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Returns the provenance of a run whose numbers are computed by a local model.

    Args:
      model: as `about_model` returns it.
      data: what the task says of its rows.
    """
    how = files.model.compute
    return {
        "data": data,
        "model": model,
        "versions": versions(LIBRARIES),
        "arithmetic": {"dtype": how.dtype, "product_dtype": how.product_dtype, "attention": how.attention},
        "device": {
            "backend": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
            "machine": platform.machine(),
        },
    }


def of_other(respondent: Respondent, data: dict[str, Any]) -> dict[str, Any]:
    """Returns the provenance of a run that no local model answers."""
    return {"data": data, "model": respondent.about, "versions": versions(LIBRARIES_WITHOUT_MODEL)}
