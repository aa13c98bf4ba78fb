"""Two minutes of the main path on a small made-up sample: score, fine-tune, score again, report."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "synthetic"
    return c
