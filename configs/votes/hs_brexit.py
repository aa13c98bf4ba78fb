"""HS-Brexit (LeWiDi): is it hate speech? Six people a post. Needs --config.task.path=HS-Brexit_train.json."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.question = "Is this hate speech?"
    c.task.fields.options = "Yes|No"
    c.task.fields.codes = "1|0"
    c.task.fields.labels = "annotations"
    return c
