"""GlobalOpinionQA: answer shares by country, two options or more. Needs --config.task.path=FILE.jsonl.gz."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.total_votes = 100.0
    c.task.fields.text = "Asked in {country}."
    c.task.fields.counts = "distribution"
    c.task.fields.key = "{question}"
    c.task.fields.group = "{country}"
    c.prompt.orders = "reversal"
    return c
