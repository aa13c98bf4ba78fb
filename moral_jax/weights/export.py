"""Exports parameters to a folder that transformers can load: safetensors files with an index, config, and tokenizer."""

import contextlib
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file
from transformers import PreTrainedTokenizerBase

from moral_jax.models import parameters
from moral_jax.models.spec import DecoderSpec, EncoderSpec, Spec
from moral_jax.types import Params
from moral_jax.weights import hf, load, shard_slices

NAMES = {  # what the names of a family's classes begin with
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "phi": "Phi",
    "phi3": "Phi3",
    "gemma2": "Gemma2",
    "gemma3_text": "Gemma3",
    "olmo2": "Olmo2",
    "smollm3": "SmolLM3",
    "bert": "Bert",
    "roberta": "Roberta",
    "modernbert": "ModernBert",
    "deberta-v2": "DebertaV2",
}
SCORED = NAMES | {"gemma3_text": "Gemma3Text"}  # of those that have scores of texts
FILE = "model-{:05d}-of-{:05d}.safetensors"
FORMAT = {"format": "pt"}  # required by transformers
HEAD = "concentration.safetensors"
# Fields of the original config that are dropped: links to Python files, the quantisation of the original weights, and
# the old name of `dtype`
DROPPED = ("auto_map", "quantization_config", "torch_dtype")
Read = Callable[[str], np.ndarray]
Tensor = tuple[str, np.ndarray]


def _divide(sizes: dict[str, int], limit: int) -> list[list[str]]:
    """Divides tensor names into files of at most `limit` bytes, or of one tensor that is larger."""
    files: list[list[str]] = [[]]
    file_size = 0
    for name, size in sizes.items():
        if file_size + size > limit and files[-1]:
            files.append([])
            file_size = 0
        files[-1].append(name)
        file_size += size
    return files


def _file_tensors(entry: parameters.Entry, array: np.ndarray, names: list[str], dtype: jnp.dtype) -> Iterator[Tensor]:
    """Yields a parameter's file tensors as copies, because views would keep the full parameter in memory."""
    for layer, name in enumerate(names):
        matrix = array[layer] if entry.stacked else array
        yield name, np.array(matrix.T if entry.transpose else matrix, dtype, order="C")


def write_weights(
    read: Read, entries: Iterable[parameters.Entry], like: Params, folder: Path, dtype: str, limit: int
) -> int:
    """Writes safetensors files of at most `limit` bytes (or one larger tensor) and their index.

    At most one parameter and the tensors of one file are in memory at a time.

    Args:
      read: returns a parameter by its path.
      entries: the parameters to write, with their tensor names.
      like: shapes of the parameters.
      folder: output folder.
      dtype: dtype of the tensors in the files.
      limit: maximum size of a file in bytes.

    Returns:
      The number of files.
    """
    kind, leaves = jnp.dtype(dtype), load.flat(like)
    sources = {entry: shard_slices.sources(entry, False) for entry in entries}
    sizes = {
        name: math.prod(shard_slices.file_shape(entry, leaves[entry.path].shape)) * kind.itemsize
        for entry, names in sources.items()
        for name in names
    }
    tensors = itertools.chain.from_iterable(
        _file_tensors(entry, read(entry.path), names, kind) for entry, names in sources.items()
    )
    files = _divide(sizes, limit)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(files, 1):
        file = FILE.format(number, len(files))
        save_file(dict(itertools.islice(tensors, len(names))), folder / file, metadata=FORMAT)
        weight_map |= dict.fromkeys(names, file)
    hf.write_json(folder / hf.INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map})
    return len(files)


def _architecture(spec: Spec, labels: tuple[str, ...]) -> str:
    """Returns the transformers class for the spec and the labels of its score head (empty without a score head)."""
    if not labels:
        return f"{NAMES[spec.family]}ForCausalLM"
    if isinstance(spec, EncoderSpec) and len(labels) == 1:
        return f"{NAMES[spec.family]}ForMultipleChoice"
    return f"{SCORED[spec.family]}ForSequenceClassification"


def write_config(original: dict[str, Any], spec: Spec, labels: tuple[str, ...], folder: Path, dtype: str) -> None:
    """Writes `config.json`: the original config, updated by the architecture, dtype, tied embeddings and labels.

    Args:
      original: the contents of the model's own `config.json`.
      spec: the exported model.
      labels: names of the score head's rows; empty without a score head.
      folder: output folder.
      dtype: dtype of the tensors in the weight files.
    """
    config = {key: value for key, value in original.items() if key not in DROPPED}
    updates: dict[str, Any] = {"architectures": [_architecture(spec, labels)], "dtype": dtype}
    if isinstance(spec, DecoderSpec):
        updates["tie_word_embeddings"] = spec.tied_embeddings
    if labels:
        updates["id2label"] = {str(i): label for i, label in enumerate(labels)}
        updates["label2id"] = {label: i for i, label in enumerate(labels)}
    hf.write_json(folder / "config.json", config | updates)


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes the tokenizer's files, including its chat template."""
    tokenizer.init_kwargs.pop("auto_map", None)
    tokenizer.save_pretrained(folder)


def write_head(head: dict[str, np.ndarray], folder: Path) -> None:
    """Writes the concentration head, unknown to transformers: log s = bias + kernel . unit(last hidden state)."""
    save_file(head, folder / HEAD, metadata={"about": "log s = bias + unit(hidden) @ kernel; alpha = s * p"})


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yields a temporary folder, which is renamed to `out` at the end, or deleted if the block raises."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as parent:
        folder = Path(parent) / out.name
        folder.mkdir()
        yield folder
        os.replace(folder, out)
