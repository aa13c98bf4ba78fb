"""What a config of a 7-8 B model changes for the machine it runs on: data, and how it is applied."""

from ml_collections import config_dict

from moral_jax.types import UserError

_POD = {
    "model.dtype": "bfloat16",
    "model.remat": "full",
    "data.length": 2048,
}
PRESETS: dict[str, dict[str, object]] = {
    "v5e-16": _POD | {"data.batch_size": 16, "data.micro_batch_size": 16, "eval.batch_size": 32},
    "v5p-8": _POD | {"data.batch_size": 16, "data.micro_batch_size": 16, "eval.batch_size": 32},
    "v6e-8": _POD | {"data.batch_size": 16, "data.micro_batch_size": 8, "eval.batch_size": 16},
    # one GPU holds neither float32 weights nor float32 moments of 7 B; b2 as bfloat16 sums of squares can follow
    "gpu-80gb": _POD
    | {
        "model.param_dtype": "bfloat16",
        "optim.moment_dtype": "bfloat16",
        "optim.b2": 0.95,
        "data.batch_size": 16,
        "data.micro_batch_size": 4,
        "eval.batch_size": 8,
    },
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
    """Sets a preset's fields.

    Raises:
      UserError: there is no such preset.
    """
    if preset not in PRESETS:
        raise UserError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}")
    config.update_from_flattened_dict(PRESETS[preset])
    return config
