"""Translates the metadata of a GGUF file to a Hugging Face config, for each architecture of llama.cpp that is read.

Files do not say everything that decides a logit: llama.cpp knows which layers of Gemma have a window, for instance.
What it knows stands in `ARCHITECTURES`. `_check_fields` refuses every field that we would not compute.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError
from moral_jax.weights.gguf import GgufFile

# Fields of the architecture. READ: those that are computed for all. SILENT: those that change no logit. All others pass
# only with their value in NEUTRAL, or as zero, false or empty, which is how llama.cpp switches a field off.
READ = (
    "attention.head_count", "attention.head_count_kv", "attention.key_length", "block_count", "context_length",
    "feed_forward_length", "rope.freq_base", "rope.scale_linear", "rope.scaling.factor", "rope.scaling.type",
    "rope.scaling.original_context_length",
)  # fmt: skip
SILENT = ("pooling_type", "rope.scaling.finetuned", "tensor_data_layout", "vocab_size")
NEUTRAL = {
    "general.type": "model",
    "general.quantization_version": 2,
    "{}.attention.causal": True,
    "{}.rope.scaling.attn_factor": 1.0,
}
RMS, LAYER, WINDOW = (
    "attention.layer_norm_rms_epsilon",
    "attention.layer_norm_epsilon",
    "attention.sliding_window",
)
ROPE_FREQUENCIES = "rope_freqs.weight"  # divisors of Llama 3
ROPE_FACTORS = {"short_factor": "rope_factors_short.weight", "long_factor": "rope_factors_long.weight"}
ROPE_TENSORS = {ROPE_FREQUENCIES, *ROPE_FACTORS.values()}  # read with the config


class Architecture(NamedTuple):
    """An architecture of llama.cpp.

    `own` returns the fields of the config that this architecture has beside those of all.
    `read` are the metadata fields that it reads for that.
    """

    own: Callable[[GgufFile, dict[str, Any]], dict[str, Any]]
    read: tuple[str, ...]


def _field(file: GgufFile, name: str) -> str:
    return f"{file.metadata.get('general.architecture')}.{name}"


def _rms(file: GgufFile, name: str = RMS) -> float:
    return file.get(_field(file, name), float)


def _window(file: GgufFile) -> int | None:
    return file.get(_field(file, WINDOW), int, 0) or None


def _llama(file: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
    # Mistral files name the architecture "llama" too; only the sliding window tells them apart
    window = file.metadata.get(_field(file, WINDOW))
    family = "llama" if window is None else "mistral"
    return {"model_type": family, "rms_norm_eps": _rms(file), "sliding_window": window}


def _plain(family: str, **more: Any) -> Callable[[GgufFile, dict[str, Any]], dict[str, Any]]:
    return lambda file, config: {"model_type": family, "rms_norm_eps": _rms(file), **more}


def _phi2(file: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
    share = file.get(_field(file, "rope.dimension_count"), int) / config["head_dim"]
    return {"model_type": "phi", "layer_norm_eps": _rms(file, LAYER), "partial_rotary_factor": share}


def _phi3(file: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
    rotated = file.get(_field(file, "rope.dimension_count"), int, config["head_dim"])
    own = {
        "model_type": "phi3",
        "rms_norm_eps": _rms(file),
        "sliding_window": _window(file),
        "partial_rotary_factor": rotated / config["head_dim"],
    }
    if not file.names().issuperset(ROPE_FACTORS.values()):
        return own
    original = file.get(_field(file, "rope.scaling.original_context_length"), int)
    rope = {"rope_type": "longrope", "rope_theta": config["rope_parameters"]["rope_theta"]}
    rope |= {name: file.read(tensor, (slice(None),)).tolist() for name, tensor in ROPE_FACTORS.items()}
    rope["original_max_position_embeddings"] = original
    if magnitude := file.get(_field(file, "rope.scaling.attn_factor"), float, 0.0):
        rope["attention_factor"] = magnitude
    return own | {"rope_parameters": rope, "original_max_position_embeddings": original}


def _gemma_scale(config: dict[str, Any], layers_of_27b: int) -> int:
    """Returns what queries are scaled by: as llama.cpp knows, only the largest model has another than its head size."""
    if config["num_hidden_layers"] == layers_of_27b:
        return config["hidden_size"] // config["num_attention_heads"]
    return config["head_dim"]


def _gemma2(file: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
    caps = {
        "attn_logit_softcapping": file.get(_field(file, "attn_logit_softcapping"), float, 50.0),
        "final_logit_softcapping": file.get(_field(file, "final_logit_softcapping"), float, 30.0),
    }
    scale = _gemma_scale(config, 46)
    own = {"model_type": "gemma2", "rms_norm_eps": _rms(file), "query_pre_attn_scalar": scale}
    return own | caps | {"sliding_window": file.get(_field(file, WINDOW), int, 4096)}


def _gemma3(file: GgufFile, config: dict[str, Any]) -> dict[str, Any]:
    near = {"rope_type": "default", "rope_theta": file.get(_field(file, "rope.freq_base_swa"), float, 10_000.0)}
    return {
        "model_type": "gemma3_text",
        "rms_norm_eps": _rms(file),
        "query_pre_attn_scalar": _gemma_scale(config, 62),
        "final_logit_softcapping": file.get(_field(file, "final_logit_softcapping"), float, 0.0) or None,
        "sliding_window": file.get(_field(file, WINDOW), int),
        "sliding_window_pattern": file.get(_field(file, "attention.sliding_window_pattern"), int, 6),
        "rope_parameters": {"full_attention": config["rope_parameters"], "sliding_attention": near},
    }


ARCHITECTURES = {
    "llama": Architecture(_llama, (RMS, WINDOW)),
    "qwen2": Architecture(_plain("qwen2"), (RMS,)),
    "qwen3": Architecture(_plain("qwen3"), (RMS,)),
    "phi2": Architecture(_phi2, (LAYER, "rope.dimension_count")),
    "phi3": Architecture(_phi3, (RMS, WINDOW, "rope.dimension_count", "rope.scaling.attn_factor")),
    "gemma2": Architecture(_gemma2, (RMS, WINDOW, "attn_logit_softcapping", "final_logit_softcapping")),
    "gemma3": Architecture(
        _gemma3,
        (RMS, WINDOW, "attention.sliding_window_pattern", "rope.freq_base_swa", "final_logit_softcapping"),
    ),
    "olmo2": Architecture(_plain("olmo2"), (RMS,)),
    "smollm3": Architecture(_plain("smollm3", no_rope_layer_interval=4), (RMS,)),
}


def _llama3_scaling(file: GgufFile, head_size: int, theta: float) -> dict[str, Any]:
    """Returns Llama 3's scaling, which is stored as a tensor of divisors and not as its four settings.

    The divisors are compared with those of the settings that Meta released (factor 8 for 3.1, 32 for 3.2). Divisors
    that match neither are refused.
    """
    if file.shape(ROPE_FREQUENCIES) != (head_size // 2,):
        raise UserError(
            f"{file.path}: {ROPE_FREQUENCIES} has shape {file.shape(ROPE_FREQUENCIES)}, expected "
            f"({head_size // 2},), one divisor for each pair of rotated dimensions; convert the model again"
        )
    divisors = file.read(ROPE_FREQUENCIES, (slice(None),))
    wavelengths = 2 * np.pi * theta ** (np.arange(0, head_size, 2) / head_size)
    smooth = np.clip((8192 / wavelengths - 1.0) / 3.0, 0.0, 1.0)
    for factor in (8.0, 32.0):
        if np.allclose(divisors, 1 / ((1 - smooth) / factor + smooth), rtol=1e-4):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            }
    raise UserError(
        f"{file.path}: {ROPE_FREQUENCIES} follows no released Llama 3 scaling; load the model from safetensors instead"
    )


def _rope_parameters(file: GgufFile, head_size: int) -> dict[str, Any]:
    """Returns the RoPE settings under Hugging Face's names.

    As in llama.cpp, a factor without a type is linear, and a factor of zero or one is none.
    """
    theta = file.get(_field(file, "rope.freq_base"), float, 10_000.0)
    kind = file.get(_field(file, "rope.scaling.type"), str, "linear") or "linear"
    older = file.get(_field(file, "rope.scale_linear"), float, 0.0)
    factor = file.get(_field(file, "rope.scaling.factor"), float, older)
    rope = {"rope_type": "default", "rope_theta": theta}
    if ROPE_FREQUENCIES in file.names():
        return rope | _llama3_scaling(file, head_size, theta)
    if kind in ("none", "longrope"):  # longrope's numbers are tensors
        return rope
    if kind == "yarn":
        original = file.get(_field(file, "rope.scaling.original_context_length"), int)
        return rope | {"rope_type": kind, "factor": factor, "original_max_position_embeddings": original}
    if kind != "linear":
        raise UserError(f"{file.path}: RoPE scaling {shown(kind)} with factor {factor:g} is not supported")
    return rope if factor in (0, 1) else rope | {"rope_type": kind, "factor": factor}


def _architecture(file: GgufFile) -> Architecture:
    architecture = file.get("general.architecture", str)
    if architecture not in ARCHITECTURES:
        known = ", ".join(map(repr, ARCHITECTURES))
        raise UserError(
            f"{file.path}: architecture {shown(architecture)} is not supported; supported: {known} (Mistral's too "
            f"is 'llama')"
        )
    return ARCHITECTURES[architecture]


def _check_fields(file: GgufFile, known: dict[str, int], read: tuple[str, ...]) -> None:
    """Refuses metadata fields that would change a logit and are not computed, by name.

    Args:
      file: the file.
      known: {field: value} of the sizes that another field or a tensor has decided.
      read: the fields of its architecture that are computed.
    """
    prefix = _field(file, "")
    expected = {key.format(prefix[:-1]): value for key, value in NEUTRAL.items()}
    expected |= {prefix + name: value for name, value in known.items()}
    expected = {key: value for key, value in expected.items() if key.removeprefix(prefix) not in read}
    for key, value in file.metadata.items():
        name = key.removeprefix(prefix)
        is_off = name == key or name in READ + SILENT + read or not value
        if not (value == expected[key] if key in expected else is_off):
            only = f" (only {expected[key]!r} is)" if key in expected else ""
            raise UserError(
                f"{file.path}: the metadata field {key!r} is {shown(value)}, which is not supported{only}; load the "
                f"model from safetensors instead"
            )


def hf_config(file: GgufFile) -> dict[str, Any]:
    """Returns the Hugging Face config (`config.json`) that is equivalent to the file's metadata."""
    architecture = _architecture(file)
    if "token_embd.weight" not in file.names() or len(file.shape("token_embd.weight")) != 2:
        raise UserError(f"{file.path}: the matrix 'token_embd.weight' is missing; convert the model again")
    vocab, width = file.shape("token_embd.weight")
    heads = file.get(_field(file, "attention.head_count"), int)
    head_size = file.get(_field(file, "attention.key_length"), int, width // max(heads, 1))
    sizes = {"embedding_length": width, "rope.dimension_count": head_size, "attention.value_length": head_size}
    _check_fields(file, sizes, architecture.read)
    config = {
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": file.get(_field(file, "feed_forward_length"), int),
        "num_hidden_layers": file.get(_field(file, "block_count"), int),
        "num_attention_heads": heads,
        "num_key_value_heads": file.get(_field(file, "attention.head_count_kv"), int, heads),
        "head_dim": head_size,
        "max_position_embeddings": file.get(_field(file, "context_length"), int),
        "rope_parameters": _rope_parameters(file, head_size),
        "tie_word_embeddings": "output.weight" not in file.names(),
        "bos_token_id": file.metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.metadata.get("tokenizer.ggml.eos_token_id"),
    }
    return config | architecture.own(file, config)
