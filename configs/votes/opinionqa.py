"""OpinionQA: answer shares by group of Americans. Needs --config.task.path=opinionqa_steerable_test_small.jsonl.gz."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.licence = "LicenseRef-survey-terms"
    c.task.source = "https://github.com/elaine-zhai/star-opinionqa"
    c.task.citation = "Santurkar et al., OpinionQA, ICML 2023, arXiv 2303.17548; Pew Research Center"
    c.task.total_votes = 100.0
    c.task.on_bad_row = "drop"  # 14 rows name an option twice
    c.prompt.orders = "reversal"
    c.task.fields.text = "Answered by Americans of the group {attribute}."
    c.task.fields.counts = "gold_distribution"
    c.task.fields.key = "{question}"
    c.task.fields.group = "{attribute}"
    return c
