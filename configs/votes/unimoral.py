"""UniMoral: one dilemma in six languages, 2 actions, 3 votes. Needs --config.task.path=unimoral_votes.jsonl.gz."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.licence = "NOASSERTION"
    c.task.source = "https://github.com/jy00nse0/UniMoral_reimp"
    c.task.citation = "Kumar and Jurgens, UniMoral, ACL 2025"
    c.task.fields.id = "{language} {id}"
    c.task.fields.key = "{id}"
    c.task.fields.text = "{scenario}"
    c.task.fields.question = "What should be done?"
    c.task.fields.options = "actions"
    c.task.fields.counts = "votes"
    c.task.fields.group = "{language}"
    return c
