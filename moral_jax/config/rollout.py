"""Settings of rollouts: what the model writes in training, how that is rewarded, and how rewards become advantages."""

import dataclasses
from typing import Annotated, Literal

from moral_jax.config.checks import AT_LEAST_0, AT_LEAST_1, SHARE, check, check_fields
from moral_jax.config.sample import SampleConfig


@dataclasses.dataclass(frozen=True)
class RolloutConfig:
    """Reinforcement learning: a rollout is what the model writes for some prompts, then learns from."""

    reward: str = ""
    """What replies are rewarded for: any judge, as "finished", "contains:TEXT", "refusal", "rubric:NAME@MODEL",
    "run:DIR" (a reward model), "FILE.py:FUNCTION" (moral-jax judge --help lists all); several as "A | 0.5*B"."""
    prompts: Annotated[int, AT_LEAST_1] = 8
    """Prompts in a rollout; each has `sample.n` replies, its group."""
    steps: Annotated[int, AT_LEAST_1] = 1
    """Optimizer steps that divide the prompts of a rollout between them."""
    passes: Annotated[int, AT_LEAST_1] = 1
    """How often each reply is learned from."""
    baseline: Literal["mean", "others", "none"] = "mean"
    """What is taken from a reward: the mean of the group, that of the other replies (leave-one-out), or 0."""
    scale: Literal["group", "none"] = "group"
    """Whether advantages are divided by the standard deviation of the group's rewards, or not (Dr. GRPO)."""
    reduction: Literal["texts", "tokens", "fixed", "sums"] = "tokens"
    """Of losses of tokens: mean over texts of their means (GRPO), mean over tokens (DAPO), sums over texts divided by
    `sample.max_tokens` (Dr. GRPO), or sums over texts; the last two divided by the number of texts."""
    cut: Literal["keep", "drop"] = "keep"
    """Whether replies that were cut at `sample.max_tokens` are learned from."""
    unfinished_penalty: Annotated[float, AT_LEAST_0] = 0.0
    """Taken from the reward of a reply that was cut."""
    kl_penalty: Annotated[float, AT_LEAST_0] = 0.0
    """Weight of log p - log p_ref in the reward, p_ref that of the weights that the run begins with."""
    discount: Annotated[float, SHARE] = 1.0
    """ppo: gamma of generalised advantage estimation."""
    trace: Annotated[float, SHARE] = 0.95
    """ppo: lambda of generalised advantage estimation."""
    whiten: bool = True
    """ppo: whether the advantages of a rollout are shifted and scaled to mean 0 and variance 1."""
    sample: SampleConfig = dataclasses.field(default_factory=SampleConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        check(self, "steps", self.steps <= self.prompts, f"at most prompts={self.prompts}")

    @property
    def steps_each(self) -> int:
        """Optimizer steps of a rollout."""
        return self.steps * self.passes
