"""One tiny random model of each family, as transformers makes and saves it: the table that tests run their properties
over."""

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
import transformers

from moral_jax.models import api, read_out
from moral_jax.types import Params
from moral_jax.weights import load
from tests.helpers import tiny

_SIZES = {  # multiples of 64 for nf4; the heads' total size is not the width
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_APART = {"head_dim": 32}
_LLAMA3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
_SHORT, _LONG = [1.0 + 0.1 * i for i in range(6)], [4.0 + i for i in range(6)]

DECODERS: dict[str, dict[str, Any]] = {
    "Llama 3.2, 3.3": {
        "model_type": "llama",
        "tie_word_embeddings": True,
        "rope_parameters": _LLAMA3 | {"rope_theta": 5e5, "original_max_position_embeddings": 64},
    },
    "Mistral Nemo, Small": {"model_type": "mistral", "sliding_window": None, **_APART},
    "Qwen2, Qwen2.5": {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    "Qwen3": {"model_type": "qwen3", "tie_word_embeddings": True, **_APART},
    "Phi-2": {
        "model_type": "phi",
        "num_key_value_heads": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
    },
    "Phi-3.5, Phi-4-mini": {
        "model_type": "phi3",
        "max_position_embeddings": 8192,
        "original_max_position_embeddings": 4096,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.75,
            "short_factor": _SHORT,
            "long_factor": _LONG,
        },
    },
    "Gemma 2": {
        "model_type": "gemma2",
        "sliding_window": 50,
        "query_pre_attn_scalar": 24,
        "attn_logit_softcapping": 3.0,
        "final_logit_softcapping": 4.0,
        **_APART,
    },
    "Gemma 3": {
        "model_type": "gemma3_text",
        "sliding_window": 50,
        "sliding_window_pattern": 3,
        "query_pre_attn_scalar": 24,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
        **_APART,
    },
    "OLMo 2": {"model_type": "olmo2"},
    "SmolLM3": {"model_type": "smollm3", "no_rope_layer_interval": 3, "tie_word_embeddings": True},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "Qwen2 with windows": {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 50,
        "max_window_layers": 2,
    },
    "Phi-3": {"model_type": "phi3", "sliding_window": 50},
    "Llama with biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"},
    "SmolLM3 with other layers": {"model_type": "smollm3", "no_rope_layers": [0, 1, 1, 0], "attention_bias": True},
    "Gemma 3 with other layers": {
        "model_type": "gemma3_text",
        "sliding_window": 30,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        **_APART,
    },
}
ENCODERS: dict[str, dict[str, Any]] = {
    "ModernBERT": {
        "model_type": "modernbert",
        "num_hidden_layers": 5,
        "local_attention": 24,
        "max_position_embeddings": 512,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
    "DeBERTa-v3": {
        "model_type": "deberta-v2",
        "num_hidden_layers": 3,
        "max_position_embeddings": 512,
        "relative_attention": True,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
}
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
    "yarn": _YARN,
    "yarn of DeepSeek": _YARN | {"mscale": 1.0, "mscale_all_dim": 0.7, "truncate": False, "beta_fast": 20.0},
}


logits = jax.jit(read_out.vocabulary_logits, static_argnums=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """A model of transformers, the folder it was saved to, and what we load from there."""

    name: str
    theirs: Any
    folder: Path
    model: api.Model
    params: Params

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Returns the logits of transformers."""
        with torch.no_grad():
            return self.theirs(torch.from_numpy(ids)).logits.float().numpy()


def write(config: dict[str, Any], folder: Path, kind: str = "CausalLM", **more: Any) -> Any:
    """Makes a random model of transformers from a config.json, saves it, and returns it.

    Args:
      kind: which of its classes, as in the name of the automatic one.
      more: fields of the config that are not in a file.
    """
    of = {k: v for k, v in (_SIZES | config).items() if k != "model_type"}
    theirs = transformers.AutoConfig.for_model(config["model_type"], **of, **more)
    torch.manual_seed(0)
    reader = getattr(transformers, f"AutoModelFor{kind}" if kind else "AutoModel")
    hf_model = reader.from_config(theirs, attn_implementation="eager").eval()
    ones = 0.0 if config["model_type"].startswith("gemma") else 1.0
    with torch.no_grad():  # initial weights are so small that attention would be flat
        for name, p in hf_model.named_parameters():
            p.normal_(ones if "norm" in name.lower() and name.endswith("weight") else 0.0, 0.1)
    hf_model.save_pretrained(folder)
    return hf_model


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="families_")


def new_folder() -> Path:
    """Returns a folder that lasts as long as the tests."""
    return Path(tempfile.mkdtemp(dir=_folder().name))


@functools.cache
def pair(name: str) -> Pair:
    """Returns the model of a family in DECODERS, once for all tests."""
    folder = new_folder()
    theirs = write((DECODERS | VARIANTS)[name], folder)
    model = tiny.model(load.read_spec(folder))
    return Pair(name, theirs, folder, model, api.init_heads_and_adapters(tiny.load(folder, model.spec), model, 0))
