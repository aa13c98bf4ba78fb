"""The families of models that are read: functions from a `config.json` to a spec."""

from collections.abc import Callable
from typing import Any

from moral_jax.models import decoder_families as decoders
from moral_jax.models import encoder_families as encoders
from moral_jax.models.config_json import Fields
from moral_jax.models.spec import Spec
from moral_jax.runtime.strict_json import shown
from moral_jax.types import UserError

FAMILIES: dict[str, Callable[[Fields], Spec]] = {
    "llama": decoders.llama,  # Llama 2 to 3.3, SmolLM2, ...
    "mistral": decoders.mistral,  # Mistral v0.1-v0.3, Nemo and Small, Zephyr
    "qwen2": decoders.qwen2,  # Qwen2, Qwen2.5
    "qwen3": decoders.qwen3,
    "phi": decoders.phi,  # Phi-1 to Phi-2
    "phi3": decoders.phi3,  # Phi-3, Phi-3.5, Phi-4
    "gemma2": decoders.gemma2,
    "gemma3_text": decoders.gemma3,
    "olmo2": decoders.olmo2,
    "smollm3": decoders.smollm3,
    "bert": encoders.bert,  # BERT, MiniLM
    "roberta": encoders.bert,
    "modernbert": encoders.modernbert,
    "deberta-v2": encoders.deberta,  # DeBERTa-v3
}


def from_hf(hf: dict[str, Any], where: str = "config.json") -> Spec:
    """Returns the spec in a `config.json`; refuses by name what this port cannot compute exactly.

    Args:
      hf: the parsed JSON.
      where: the file's name, for errors.

    Raises:
      UserError: unknown family, missing field, or a setting that would change results and is not ported.
    """
    family = hf.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise UserError(f"{where}: model_type {shown(family)} is not supported; supported: {', '.join(FAMILIES)}")
    if (quantised := hf.get("quantization_config")) is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise UserError(
            f"{where}: quantization_config: weights stored by {shown(method)} are not read; take the unquantised "
            f"model, and store it in fewer bits here: --config.model.quantize=int8 or nf4"
        )
    return FAMILIES[family](Fields(hf, where))
