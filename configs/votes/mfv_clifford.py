"""Moral Foundations Vignettes: why is it wrong? Shares over seven. Needs --config.task.path=mfv_classic_human.jsonl."""

from moral_jax import config

FOUNDATIONS = ("Care", "Fairness", "Loyalty", "Authority", "Sanctity", "Liberty", "SocialNorms")


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.task.licence = "NOASSERTION"
    c.task.source = "https://github.com/wassname/moral-maps"
    c.task.citation = "Clifford et al., Moral Foundations Vignettes, 2015, doi 10.3758/s13428-014-0551-2"
    c.task.fields.question = "Why is this wrong?"
    c.task.fields.options = "care|fairness|loyalty|authority|sanctity|liberty|social norms"
    c.task.fields.counts = "|".join(f"human_{name}" for name in FOUNDATIONS)
    c.task.fields.group = "{foundation_coarse}"
    return c
