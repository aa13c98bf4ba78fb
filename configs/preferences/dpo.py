"""Direct preference optimisation, on single choices or on votes.

    python train.py --config=configs/preferences/dpo.py --config.task.path=pairs.jsonl

Rows have `prompt` (or `messages`), `chosen` and `rejected`; or `completions` and `counts`, the votes for each.
"""

from moral_jax import config
from moral_jax.config import presets


def get_config(preset=None):
    c = config.default()
    c.task.name, c.objective.name = "preferences", "dpo"
    c.data.length, c.data.batch_size, c.data.micro_batch_size = 1024, 8, 2
    c.optim.lr = 5e-6
    c.train.epochs = 1
    return presets.given(c, preset)
