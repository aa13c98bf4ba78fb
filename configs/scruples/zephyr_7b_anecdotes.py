"""Scruples ANECDOTES, five-way, Zephyr-7B-beta, all weights.

Presets: v5e-16, v5p-8, v6e-8, gpu-80gb-8, tiny; gpu-80gb and gpu-24gb train adapters.
"""

from moral_jax import config
from moral_jax.config import presets


def get_config(preset="v5e-16"):
    c = config.default()
    c.model.path = "HuggingFaceH4/zephyr-7b-beta"
    c.task.name = "anecdotes"
    c.optim.lr = 1e-5
    c.train.epochs = 1
    return presets.apply(c, preset)
