"""Scruples DILEMMAS, SmolLM2-135M: each action in a prompt of its own, one score each. No action comes first."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "dilemmas"
    c.model.head = "score"
    c.data.batch_size = 2
    c.data.micro_batch_size = 1
    c.optim.lr = 1e-4
    c.train.epochs = 1
    return c
