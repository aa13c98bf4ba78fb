"""Parameters to a folder that transformers loads: safetensors behind an index, config, tokenizer."""

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

NAMES = {"llama": "Llama", "mistral": "Mistral", "bert": "Bert", "roberta": "Roberta"}  # as classes begin
FILE = "model-{:05d}-of-{:05d}.safetensors"
FORMAT = {"format": "pt"}  # transformers refuses files that do not say it
HEAD = "concentration.safetensors"
# Of another's config: a link to Python files, how weights were once packed, and the older name of `dtype`
NOT_KEPT = ("auto_map", "quantization_config", "torch_dtype")
Read = Callable[[str], np.ndarray]
Tensor = tuple[str, np.ndarray]


def _divide(sizes: dict[str, int], limit: int) -> list[list[str]]:
    """Tensor names, file by file: a file ends before it would grow beyond `limit` bytes."""
    files: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if held + size > limit and files[-1]:
            files.append([])
            held = 0
        files[-1].append(name)
        held += size
    return files


def _of_parameter(entry: parameters.Entry, whole: np.ndarray, names: list[str], dtype: jnp.dtype) -> Iterator[Tensor]:
    """A parameter's file tensors, as copies: a view would keep the whole parameter in memory."""
    for layer, name in enumerate(names):
        matrix = whole[layer] if entry.stacked else whole
        yield name, np.array(matrix.T if entry.transpose else matrix, dtype, order="C")


def write_weights(
    read: Read, entries: Iterable[parameters.Entry], like: Params, folder: Path, dtype: str, limit: int
) -> int:
    """Writes safetensors files of at most `limit` bytes (or one tensor) and their index.

    One parameter and the tensors of one file are in memory at once.

    Args:
      read: a parameter by its path.
      entries: what is written, under which names.
      like: shapes of the parameters.
      folder: where the files go.
      dtype: of the numbers in them.
      limit: bytes.

    Returns:
      How many files there are.
    """
    kind, leaves = jnp.dtype(dtype), load.flat(like)
    sources = {entry: shard_slices.sources(entry, False) for entry in entries}
    sizes = {
        name: math.prod(shard_slices.file_shape(entry, leaves[entry.path].shape)) * kind.itemsize
        for entry, names in sources.items()
        for name in names
    }
    tensors = itertools.chain.from_iterable(
        _of_parameter(entry, read(entry.path), names, kind) for entry, names in sources.items()
    )
    files, weight_map = _divide(sizes, limit), {}
    for number, names in enumerate(files, 1):
        file = FILE.format(number, len(files))
        save_file(dict(itertools.islice(tensors, len(names))), folder / file, metadata=FORMAT)
        weight_map |= dict.fromkeys(names, file)
    hf.write_json(folder / hf.INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map})
    return len(files)


def _architecture(spec: Spec, labels: tuple[str, ...]) -> str:
    """The class of transformers that has such a head; arguments as of `write_config`."""
    if not labels:
        return f"{NAMES[spec.family]}ForCausalLM"
    if isinstance(spec, EncoderSpec) and len(labels) == 1:
        return f"{NAMES[spec.family]}ForMultipleChoice"
    return f"{NAMES[spec.family]}ForSequenceClassification"


def write_config(original: dict[str, Any], spec: Spec, labels: tuple[str, ...], folder: Path, dtype: str) -> None:
    """The model's own `config.json` with what the export decides.

    Args:
      labels: names of the score head's rows; empty where there is none.
    """
    kept = {key: value for key, value in original.items() if key not in NOT_KEPT}
    decided: dict[str, Any] = {"architectures": [_architecture(spec, labels)], "dtype": dtype}
    if isinstance(spec, DecoderSpec):
        decided["tie_word_embeddings"] = spec.tied_embeddings
    if labels:
        decided["id2label"] = {str(i): label for i, label in enumerate(labels)}
        decided["label2id"] = {label: i for i, label in enumerate(labels)}
    hf.write_json(folder / "config.json", kept | decided)


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """The tokenizer's files, its chat template among them."""
    tokenizer.init_kwargs.pop("auto_map", None)
    tokenizer.save_pretrained(folder)


def write_head(head: dict[str, np.ndarray], folder: Path) -> None:
    """The concentration head, for which transformers has no place: log s = bias + kernel . unit(last hidden state)."""
    save_file(head, folder / HEAD, metadata={"about": "log s = bias + unit(hidden) @ kernel; alpha = s * p"})


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when all is written, and vanishes when something fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        folder = Path(beside) / out.name
        folder.mkdir()
        yield folder
        os.replace(folder, out)
