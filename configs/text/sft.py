"""Supervised fine-tuning on chats, completions or documents.

    python train.py --config=configs/text/sft.py --config.task.path=chats.jsonl

Rows have `messages` (turns with role and content), `prompt` and `completion`, or a plain `text`.
"""

from moral_jax import config
from moral_jax.config import presets


def get_config(preset=None):
    c = config.default()
    c.task.name, c.objective.name = "texts", "sft"
    c.data.length, c.data.batch_size, c.data.micro_batch_size = 1024, 8, 2
    c.optim.lr, c.optim.schedule = 2e-5, "cosine"
    c.train.epochs = 1
    return presets.given(c, preset)
