"""Conversational Sarcasm Corpus (LeWiDi 2025): a scale of 1 to 6. Needs --config.task.path=CSC_train.json."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.text = "Context: {text.context}\nResponse: {text.response}"
    c.task.fields.question = "How sarcastic is the response?"
    c.task.fields.options = "1 (not at all)|2|3|4|5|6 (completely)"
    c.task.fields.codes = "1|2|3|4|5|6"
    c.task.fields.labels = "annotations"
    c.task.scale = True
    return c
