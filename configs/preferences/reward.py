"""A reward model: one number for a reply, learned from choices or votes between replies.

    python train.py --config=configs/preferences/reward.py --config.task.path=pairs.jsonl

Rows are those of configs/preferences/dpo.py.
"""

from moral_jax import config
from moral_jax.config import presets


def get_config(preset=None):
    c = config.default()
    c.task.name, c.objective.name = "preferences", "reward_model"
    c.model.head = "score"
    c.data.length, c.data.batch_size, c.data.micro_batch_size = 1024, 8, 2
    c.optim.lr = 2e-5
    c.train.epochs = 1
    return presets.given(c, preset)
