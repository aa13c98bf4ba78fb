"""Moral Stories: of two actions the one that a norm asks for. Needs --config.task.path=train.jsonl."""

from moral_jax import config
from moral_jax.config import presets


def get_config(preset=None):
    c = config.default()
    c.task.name = "preferences"
    c.task.fields.prompt = "norm"
    c.task.fields.chosen, c.task.fields.rejected = "moral_action", "immoral_action"
    c.objective.name = "dpo"
    return presets.given(c, preset)
