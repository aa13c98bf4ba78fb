"""Group relative policy optimisation: the replies to a prompt are rewarded, and compared with each other.

    python train.py --config=configs/rl/grpo.py --config.task.path=prompts.jsonl --config.rollout.reward=finished

Rows have `prompt`, or `messages` that wait for a reply. docs/reinforcement.md has the rewards and the relatives.
"""

from moral_jax import config
from moral_jax.config import presets


def get_config(preset=None):
    c = config.default()
    c.task.name, c.objective.name = "prompts", "grpo"
    c.rollout.prompts, c.rollout.sample.n, c.rollout.sample.max_tokens = 8, 8, 128
    c.data.length, c.data.micro_batch_size = 1024, 2
    c.objective.clip_high, c.objective.kl_weight = 0.28, 0.001
    c.optim.lr, c.optim.schedule, c.optim.weight_decay = 1e-6, "constant", 0.0
    c.train.epochs = 1
    return presets.given(c, preset)
