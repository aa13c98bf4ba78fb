"""Paraphrase (LeWiDi 2025): a scale of -5 to 5. Needs --config.task.path=Paraphrase_train.json."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.text = "Question 1: {text.Question1}\nQuestion 2: {text.Question2}"
    c.task.fields.question = "Do the two questions ask the same thing, from -5 (not at all) to 5 (exactly)?"
    c.task.fields.options = "-5|-4|-3|-2|-1|0|1|2|3|4|5"
    c.task.fields.labels = "annotations"
    c.task.scale = True
    return c
