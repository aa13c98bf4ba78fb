"""Utility control (arXiv 2502.08640): the shares of an assembly on pairs of outcomes. Needs the three files that
`moral-jax elicit OPTIONS.jsonl --assembly=VOTES.jsonl --write-rows=DIR` writes, and --config.model.path."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.data.batch_size = 1
    c.data.micro_batch_size = 1
    c.optim.lr = 1e-4
    c.train.epochs = 2
    return c
