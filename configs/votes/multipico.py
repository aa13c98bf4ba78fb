"""MultiPICo (LeWiDi 2025): irony in nine languages. Needs --config.task.path=MP_train.json."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.text = "Post: {text.post}\nReply: {text.reply}"
    c.task.fields.question = "Is the reply ironic?"
    c.task.fields.options = "Yes|No"
    c.task.fields.codes = "1|0"
    c.task.fields.labels = "annotations"
    c.task.fields.group = "{lang}"
    return c
