"""POPQUORN: how offensive? A row per person (--config.task.fields.by=gender). Needs --config.task.path=FILE.csv."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.item, c.task.fields.person, c.task.fields.vote = "instance_id", "user_id", "offensiveness"
    c.task.fields.question = "How offensive is this comment?"
    c.task.fields.options = "1 (not at all offensive)|2|3|4|5 (very offensive)"
    c.task.fields.codes = "1|2|3|4|5"
    c.task.scale = True
    return c
