"""MoCa moral stories: was it morally permissible? 25 yes / no votes each. Needs --config.task.path=moral.jsonl."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.licence = "NOASSERTION"
    c.task.source = "https://github.com/cicl-stanford/moca"
    c.task.citation = "Nie et al., MoCa, NeurIPS 2023, arXiv 2310.19677"
    c.task.fields.text = "{story}"
    c.task.fields.options = "Yes|No"
    c.task.fields.counts = "votes_yes|votes_no"
    return c
