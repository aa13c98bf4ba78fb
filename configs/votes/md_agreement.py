"""MD-Agreement (LeWiDi): is it offensive? Five people a post. Needs --config.task.path=MD-Agreement_train.json."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.question = "Is this offensive?"
    c.task.fields.options = "Yes|No"
    c.task.fields.codes = "1|0"
    c.task.fields.labels = "annotations"
    c.task.fields.group = "{other_info.domain}"
    return c
