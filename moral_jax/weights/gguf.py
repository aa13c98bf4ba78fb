"""Reads GGUF files (llama.cpp): metadata, and tensors dequantised to float32 with the `gguf` package.

`gguf_header` reads the header. `GgufFile` then reads rows of tensors from a memory map. Only the Llama architecture is
supported. `hf_config` translates its metadata to a Hugging Face config: RoPE scaling is recovered from the stored
divisors (`_rope_parameters`), and `halves_order` undoes llama.cpp's interleaving of query and key rows. `_check_fields`
refuses every field that we would not compute.
"""

import functools
from pathlib import Path
from typing import Any, TypeVar

import gguf
import numpy as np

from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError
from moral_jax.weights import gguf_header

T = TypeVar("T")
# Fields "llama.*". READ: those that are computed. SILENT: those that change no logit. All others pass only with their
# value in NEUTRAL, or as zero, false or empty, which is how llama.cpp switches a field off.
READ = (
    "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.layer_norm_rms_epsilon",
    "attention.sliding_window", "block_count", "context_length", "feed_forward_length", "rope.freq_base",
    "rope.scale_linear", "rope.scaling.factor", "rope.scaling.type",
)  # fmt: skip
SILENT = (
    "pooling_type", "rope.scaling.finetuned", "rope.scaling.original_context_length", "tensor_data_layout",
    "vocab_size",
)  # fmt: skip
NEUTRAL = {
    "general.type": "model",
    "general.quantization_version": 2,
    "llama.attention.causal": True,
    "llama.rope.scaling.attn_factor": 1.0,
}
READABLE = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K")


def _to_float(data: np.ndarray, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    return gguf.quants.dequantize(data, kind).astype(np.float32, copy=False)


class GgufFile:
    """An open GGUF file. Tensor shapes are in NumPy order: [out, in]."""

    def __init__(self, path: Path):
        self.path = path
        self.metadata, tensors = gguf_header.read(path)
        self._tensors = {tensor.name: tensor for tensor in tensors}
        for tensor in tensors:
            if tensor.kind.name not in READABLE:
                kinds = ", ".join(READABLE)
                raise UserError(f"{path}: tensor {tensor.name!r} is {tensor.kind.name}; readable: {kinds}")
        self._bytes = np.asarray(np.memmap(path, np.uint8, "r"))  # slicing numpy.memmap itself is slow

    def get(self, key: str, kind: type[T], default: T | None = None) -> T:
        """Returns a metadata field, or `default` if the field is missing.

        Raises:
          UserError: the field is missing and has no default, or is of another type (for float, an int is accepted).
        """
        value = self.metadata.get(key, default)
        if value is None:
            raise UserError(f"{self.path}: the metadata field {key!r} is missing; convert the model again")
        is_right = type(value) is kind or (kind is float and type(value) is int)
        if not is_right:
            raise UserError(f"{self.path}: the metadata field {key!r}: found {shown(value)}, expected {kind.__name__}")
        return value

    def texts(self, key: str) -> list[str]:
        """Returns a metadata field that is a list of strings."""
        values = self.get(key, list)
        if not all(isinstance(v, str) for v in values):
            raise UserError(f"{self.path}: the metadata field {key!r}: expected a list of strings")
        return values

    def names(self) -> set[str]:
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def read(self, name: str, index: tuple[slice | np.ndarray, ...]) -> np.ndarray:
        """Reads `tensor[index]` as float32.

        Full rows are dequantised before columns are selected, because a quantisation block may span a column bound.
        """
        (_, kind, shape, start, size), (rows, *columns) = self._tensors[name], index
        data = self._bytes[start : start + size].reshape(gguf.quants.quant_shape_to_byte_shape(shape, kind))
        if data.ndim == 1:
            return _to_float(data, kind)[rows]
        return _to_float(data[rows], kind)[:, *columns]


@functools.lru_cache(maxsize=2)
def open_gguf(path: Path) -> GgufFile:
    """Opens a file. Cached, because it is asked for its config, its tokenizer and its tensors."""
    return GgufFile(path)


def halves_order(out: int, heads: int) -> np.ndarray:
    """Returns, for each of our rows of a query or key tensor, its row in the file. Undoes llama.cpp's permutation.

    GGUF files of the Llama architecture store each head's rotary pairs next to each other: (0, 1), (2, 3), ...
    We follow Hugging Face, where they are half a head apart: (0, H // 2), (1, H // 2 + 1), ...
    """
    return np.arange(out).reshape(heads, out // heads // 2, 2).swapaxes(1, 2).reshape(out)


def _rope_parameters(file: GgufFile, head_size: int) -> dict[str, Any]:
    """Returns the RoPE settings under Hugging Face's names.

    Llama 3.1 scaling is stored as a tensor of divisors, not as its four settings. The divisors are compared with those
    of the settings that Meta released (factor 8 for 3.1, 32 for 3.2). Divisors that match neither are refused. As in
    llama.cpp, a factor without a type is linear, and a factor of zero is none.
    """
    theta = file.get("llama.rope.freq_base", float, 10_000.0)
    kind = file.get("llama.rope.scaling.type", str, "linear")
    factor = file.get("llama.rope.scaling.factor", float, file.get("llama.rope.scale_linear", float, 0.0))
    if kind != "none" and not (kind in ("linear", "") and factor in (0, 1)):
        raise UserError(
            f"{file.path}: RoPE scaling {kind!r} with factor {factor:g} is not supported; only that of Llama 3 is"
        )
    if "rope_freqs.weight" not in file.names():
        return {"rope_type": "default", "rope_theta": theta}
    if file.shape("rope_freqs.weight") != (head_size // 2,):
        raise UserError(
            f"{file.path}: rope_freqs.weight has shape {file.shape('rope_freqs.weight')}, expected "
            f"({head_size // 2},), one divisor for each pair of rotated dimensions; convert the model again"
        )
    divisors = file.read("rope_freqs.weight", (slice(None),))
    wavelengths = 2 * np.pi * theta ** (np.arange(0, head_size, 2) / head_size)
    smooth = np.clip((8192 / wavelengths - 1.0) / 3.0, 0.0, 1.0)
    for factor in (8.0, 32.0):
        if np.allclose(divisors, 1 / ((1 - smooth) / factor + smooth), rtol=1e-4):
            return {
                "rope_type": "llama3",
                "rope_theta": theta,
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            }
    raise UserError(
        f"{file.path}: rope_freqs.weight follows no released Llama 3 scaling; load the model from safetensors instead"
    )


def _check_architecture(file: GgufFile) -> None:
    """Refuses parts of files, of which only the first names the architecture, and files of another architecture."""
    if (parts := file.get("split.count", int, 1)) > 1:
        raise UserError(
            f"{file.path}: is one of {parts} parts ('split.count'); join them with llama-gguf-split --merge, and load "
            f"the whole"
        )
    architecture = file.get("general.architecture", str)
    if architecture != "llama":
        raise UserError(
            f"{file.path}: architecture {architecture!r} is not supported; supported: 'llama' (Llama, Mistral, ...)"
        )


def _check_fields(file: GgufFile, known: dict[str, int]) -> None:
    """Refuses metadata fields that would change a logit and are not computed, by name.

    Args:
      file: the file.
      known: {field: value} of the sizes that another field or a tensor has decided.
    """
    expected = NEUTRAL | known
    for key, value in file.metadata.items():
        name = key.removeprefix("llama.")
        is_off = name == key or name in READ + SILENT or not value
        if not (value == expected[key] if key in expected else is_off):
            only = f" (only {expected[key]!r} is)" if key in expected else ""
            raise UserError(
                f"{file.path}: the metadata field {key!r} is {shown(value)}, which is not supported{only}; load the "
                f"model from safetensors instead"
            )


def hf_config(file: GgufFile) -> dict[str, Any]:
    """Returns the Hugging Face config (`config.json`) that is equivalent to the file's metadata."""
    _check_architecture(file)
    if "token_embd.weight" not in file.names() or len(file.shape("token_embd.weight")) != 2:
        raise UserError(f"{file.path}: the matrix 'token_embd.weight' is missing; convert the model again")
    vocab, width = file.shape("token_embd.weight")
    heads = file.get("llama.attention.head_count", int)
    head_size = file.get("llama.attention.key_length", int, width // max(heads, 1))
    sizes = {"embedding_length": width, "rope.dimension_count": head_size, "attention.value_length": head_size}
    _check_fields(file, {f"llama.{name}": size for name, size in sizes.items()})
    return {
        # Mistral files name the architecture "llama" too; only the sliding window tells them apart
        "model_type": "mistral" if "llama.attention.sliding_window" in file.metadata else "llama",
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": file.get("llama.feed_forward_length", int),
        "num_hidden_layers": file.get("llama.block_count", int),
        "num_attention_heads": heads,
        "num_key_value_heads": file.get("llama.attention.head_count_kv", int, heads),
        "head_dim": head_size,
        "rms_norm_eps": file.get("llama.attention.layer_norm_rms_epsilon", float),
        "max_position_embeddings": file.get("llama.context_length", int),
        "rope_parameters": _rope_parameters(file, head_size),
        "sliding_window": file.metadata.get("llama.attention.sliding_window"),
        "tie_word_embeddings": "output.weight" not in file.names(),
        "bos_token_id": file.metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.metadata.get("tokenizer.ggml.eos_token_id"),
    }
