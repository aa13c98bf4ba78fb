"""What a config of a 7-8 B model changes for the machine it runs on: data, and how it is applied."""

from ml_collections import config_dict

from moral_jax.types import UserError

_POD = {
    "model.dtype": "bfloat16",
    "model.remat": "full",
    "data.length": 2048,
}
_LORA = {"adapter.kind": "lora", "model.param_dtype": "bfloat16"}
LORA_RATE = (
    10  # a config's rate is one for all weights; adapters learn best at ten times that (LoRA Without Regret, 2025)
)
PRESETS: dict[str, dict[str, object]] = {
    "v5e-16": _POD | {"data.batch_size": 16, "data.micro_batch_size": 16, "eval.batch_size": 32},
    "v5p-8": _POD | {"data.batch_size": 16, "data.micro_batch_size": 16, "eval.batch_size": 32},
    "v6e-8": _POD | {"data.batch_size": 16, "data.micro_batch_size": 8, "eval.batch_size": 16},
    # a machine of eight GPUs trains all weights; one GPU has no room for 7 B weights, their gradients and moments
    "gpu-80gb-8": _POD | {"data.batch_size": 16, "data.micro_batch_size": 16, "eval.batch_size": 32},
    "gpu-80gb": _POD | _LORA | {"data.batch_size": 16, "data.micro_batch_size": 4, "eval.batch_size": 8},
    "gpu-24gb": _POD
    | _LORA
    | {"model.quantize": "nf4", "data.batch_size": 16, "data.micro_batch_size": 4, "eval.batch_size": 8},
    # two steps of a tiny model on any machine: give --config.model.path
    "tiny": {
        "task.limit": 8,
        "data.length": 256,
        "data.questions_per_row": 4,
        "data.batch_size": 2,
        "data.micro_batch_size": 1,
        "eval.batch_size": 2,
        "eval.bootstrap": 100,
        "eval.best_draws": 10,
        "train.steps": 2,
    },
}


def given(config: config_dict.ConfigDict, preset: str | None) -> config_dict.ConfigDict:
    """Sets a preset's fields if one is asked for; raises as `apply`."""
    return config if preset is None else apply(config, preset)


def apply(config: config_dict.ConfigDict, preset: str) -> config_dict.ConfigDict:
    """Sets a preset's fields. One that trains adapters also multiplies the config's learning rate.

    Raises:
      UserError: there is no such preset.
    """
    if preset not in PRESETS:
        raise UserError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}")
    config.update_from_flattened_dict(PRESETS[preset])
    if "adapter.kind" in PRESETS[preset]:
        config.optim.lr *= LORA_RATE
    return config
