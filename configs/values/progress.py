"""Moral progress, simulated (arXiv 2406.20087): how an examinee learns at each step of `moral-jax simulate`.

moral-jax simulate --model=OWNER/MODEL --config.optim.lr=5e-4
"""

from moral_jax import config


def get_config():
    c = config.default()
    c.task.name = "votes"
    c.adapter.kind, c.adapter.rank = "lora", 8  # a step keeps its adapters alone
    c.data.batch_size, c.data.micro_batch_size = 2, 2
    c.optim.lr, c.optim.schedule, c.optim.weight_decay = 1e-3, "constant", 0.0
    c.train.epochs = 6
    return c
