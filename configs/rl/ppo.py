"""Proximal policy optimisation: a critic learns what replies will be worth, token by token.

    python train.py --config=configs/rl/ppo.py --config.task.path=prompts.jsonl --config.rollout.reward=run:runs/reward

Rows have `prompt`, or `messages` that wait for a reply. docs/reinforcement.md has the rewards and the settings.
"""

from moral_jax import config
from moral_jax.config import presets


def get_config(preset=None):
    c = config.default()
    c.task.name, c.objective.name = "prompts", "ppo"
    c.rollout.prompts, c.rollout.sample.n, c.rollout.sample.max_tokens = 64, 1, 128
    c.rollout.steps, c.rollout.passes = 2, 2
    c.rollout.kl_penalty = 0.05
    c.data.length, c.data.micro_batch_size = 1024, 2
    c.optim.lr, c.optim.schedule, c.optim.weight_decay = 1e-6, "constant", 0.0
    c.train.epochs = 1
    return presets.given(c, preset)
