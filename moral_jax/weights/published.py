"""Published `config.json` contents of commonly used models, for planning without a network. Data only.

Training reads the `config.json` in the model's folder instead.
"""

_MISTRAL = {
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
_LLAMA_2_7B = _MISTRAL | {
    "model_type": "llama",
    "vocab_size": 32000,
    "intermediate_size": 11008,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "rope_theta": 1e4,
}
_LLAMA_3_1_8B = _MISTRAL | {
    "model_type": "llama",
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}
CONFIGS = {
    "meta-llama/Llama-2-7b-hf": _LLAMA_2_7B,
    "meta-llama/Llama-2-7b-chat-hf": _LLAMA_2_7B,
    "mistralai/Mistral-7B-Instruct-v0.3": _MISTRAL | {"vocab_size": 32768, "rope_theta": 1e6, "sliding_window": None},
    "HuggingFaceH4/zephyr-7b-beta": _MISTRAL | {"vocab_size": 32000, "rope_theta": 1e4, "sliding_window": 4096},
    "meta-llama/Llama-3.1-8B": _LLAMA_3_1_8B,
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_3_1_8B,
}
