"""Where the numbers of a run come from: data, weights, versions, device."""

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from moral_jax.config import Config
from moral_jax.respondents.base import Respondent
from moral_jax.respondents.encode import ModelFiles
from moral_jax.runs import origin
from moral_jax.runs.directory import RunDirectory, versions
from moral_jax.runtime.files import sha256
from moral_jax.types import UserError
from moral_jax.weights import gguf, hf, licence, peft, source
from moral_jax.workflows import earlier

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "transformers", "tokenizers")
LIBRARIES_WITHOUT_MODEL = ("numpy", "scipy")
CONFIGS = ("config.json",)
# what transformers may make a tokenizer of
TOKENIZER_FILES = (
    "tokenizer*", "*vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model", "*.tiktoken",
    "tekken.json", "*chat_template*",
)  # fmt: skip
OF_MODEL = ("model.sha256", "model.settings_sha256")


def weight_hashes(path: Path) -> dict[str, str]:
    """Returns the SHA-256 of every weight file."""
    weight_files = gguf.open_gguf(path).parts if path.is_file() else sorted(hf.weight_files(path))
    return {file.name: sha256(file) for file in weight_files}


def _adapter_hashes(folder: Path) -> dict[str, str]:
    tensors = folder / peft.TENSORS
    if not tensors.is_file():
        raise UserError(f"{tensors}: no such file; config.adapter.path names a folder that PEFT has saved")
    return {tensors.name: sha256(tensors)}


def settings_hashes(config: Config, files: ModelFiles) -> dict[str, str]:
    """Returns the SHA-256 of the small files that decide numbers: configs of the model and of an adapter, and all of
    the tokenizer. A GGUF file holds them itself."""
    own = (*CONFIGS, *TOKENIZER_FILES) if files.words == files.path else CONFIGS
    hashes = _small_files(files.path, own) if files.path.is_dir() else {}
    if files.words != files.path:
        hashes |= _small_files(files.words, TOKENIZER_FILES, f"{config.model.tokenizer}/")
    if config.adapter.path:
        hashes |= _small_files(Path(config.adapter.path), (peft.CONFIG,))
    return hashes


def _small_files(path: Path, patterns: tuple[str, ...], prefix: str = "") -> dict[str, str]:
    """Returns the SHA-256 of a file, or of a folder's files whose names match, by name."""
    matching = {file for pattern in patterns for file in path.glob(pattern) if file.is_file()}
    found = [path] if path.is_file() else sorted(matching)
    return {prefix + file.name: sha256(file) for file in found}


def about_model(config: Config, files: ModelFiles) -> dict[str, Any]:
    """Returns what a run records about a local model."""
    adapter = _adapter_hashes(Path(config.adapter.path)) if config.adapter.path else {}
    weights = weight_hashes(files.path) | adapter | earlier.hashes(config)
    settings = settings_hashes(config, files)
    _check_runs_before(config, weights | settings)
    return {
        "path": config.model.path,
        "revision": source.revision(files.path),
        "family": files.model.spec.family,
        "sha256": weights,
        "settings_sha256": settings,
    }


def _check_runs_before(config: Config, now: dict[str, str]) -> None:
    """Refuses files that a run before has trained upon, where they have changed since."""
    for found in earlier.chain(config):
        began = origin.read(found.run.path).get("model", {})
        for name, was in {**began.get("sha256", {}), **began.get("settings_sha256", {})}.items():
            if now.get(name, was) != was:
                raise UserError(
                    f"{name}: no longer what {found.run.path} began with: the SHA-256 was {was}, and is {now[name]} "
                    f"now. Put back what it was, or train that run again"
                )


def of_local(files: ModelFiles, model: dict[str, Any], data: dict[str, Any], prompts: dict[str, str]) -> dict[str, Any]:
    """Returns the provenance of a run whose numbers are computed by a local model.

    Args:
      model: as `about_model` returns it.
      data: what the task says of its rows.
      prompts: the SHA-256 of all that is asked, by split.
    """
    how = files.model.compute
    return {
        "data": data,
        "model": model | {"licence": licence.of_files(files.path)},
        "prompts_sha256": prompts,
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


def check_model(config: Config, files: ModelFiles, run: RunDirectory, about: Callable[[], dict[str, Any]]) -> None:
    """Refuses a model whose files are no longer those that a run stands for.

    Args:
      about: returns what would be recorded about the model. Its weights are compared where they are read: the run has
        trained nothing, or only what lies beside them.
    """
    reads_weights = files.model.frozen or not run.is_trained
    model = about() if reads_weights else {"settings_sha256": settings_hashes(config, files)}
    sections = OF_MODEL if reads_weights else OF_MODEL[1:]
    origin.check(run.path, {"data": {"sha256": {}}, "model": model}, sections, remedy="train again")
