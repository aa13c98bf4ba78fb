"""ArMIS (LeWiDi): misogyny in Arabic, three people a post. Needs --config.task.path=ArMIS_train.json."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.question = "Is this misogynistic?"
    c.task.fields.options = "Yes|No"
    c.task.fields.codes = "1|0"
    c.task.fields.labels = "annotations"
    return c
