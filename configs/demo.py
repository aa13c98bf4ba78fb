"""Minutes of the main path on a small made-up sample: score, fine-tune, score again, report."""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "synthetic"
    c.data.length = 256
    c.data.batch_size = 1
    c.data.micro_batch_size = 1
    c.optim.lr = 1e-4
    c.train.steps = 80
    c.train.eval_every = 80  # once, at the end: saving beside a running step takes 2 GB more
    return c
