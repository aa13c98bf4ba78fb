"""Scruples ANECDOTES, five-way, SmolLM2-135M; --config.task.name=anecdotes_binary for right or wrong."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "anecdotes"
    c.data.length = 1024
    c.data.batch_size = 2
    c.data.micro_batch_size = 1
    c.optim.lr = 1e-4
    return c
