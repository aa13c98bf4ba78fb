"""Scruples DILEMMAS, SmolLM2-135M, soft cross-entropy; the recipe of the search in docs/studies.md."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "dilemmas"
    c.prompt.format = "plain"
    c.data.batch_size = 1
    c.data.micro_batch_size = 1
    c.optim.lr = 1e-4
    c.train.epochs = 1
    return c
