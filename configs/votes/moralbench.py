"""MoralBench: points of A and B, by people's mean ratings, as shares. Needs --config.task.path=moralbench.jsonl."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.fields.id, c.task.fields.group = "{set} {id}", "{set}"
    c.task.fields.question = "{question}"
    c.task.fields.options = "A|B"
    c.task.fields.counts = "human_answer_scores"
    return c
