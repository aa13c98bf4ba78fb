"""GlobalOpinionQA: answer shares by country, for testing alone. Needs --config.task.path=FILE.jsonl.gz."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.licence, c.task.test_only = "CC-BY-NC-SA-4.0", True  # weights trained on it may not be released freely
    c.task.source = "https://huggingface.co/datasets/Anthropic/llm_global_opinions"
    c.task.citation = "Durmus et al., GlobalOpinionQA, 2023, arXiv 2306.16388"
    c.task.on_bad_row = "drop"  # nine rows have no answers
    c.task.total_votes = 100.0
    c.task.fields.text = "Asked in {country}."
    c.task.fields.counts = "distribution"
    c.task.fields.key = "{question}"
    c.task.fields.group = "{country}"
    c.prompt.orders = "reversal"
    return c
