"""Settings of training: batches, loss, optimizer, loop."""

import dataclasses
from typing import Annotated, Literal

from moral_jax.config.checks import (
    ABOVE_1,
    AT_LEAST_0,
    AT_LEAST_1,
    BELOW_1,
    EPOCHS,
    POSITIVE,
    SHARE,
    SHARE_BELOW_HALF,
    check_fields,
)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How questions become batches. A row holds several questions; what they all begin with is stored once."""

    length: Annotated[int, AT_LEAST_1] = 512
    """Tokens in a packed row; longer questions are cut in the middle of their text."""
    questions_per_row: Annotated[int, AT_LEAST_1] | None = None
    """At most so many questions share a row, 1 means no packing; default: one for every 20 of its tokens."""
    batch_size: Annotated[int, AT_LEAST_1] = 4
    """Packed rows in one optimizer step."""
    micro_batch_size: Annotated[int, AT_LEAST_1] = 2
    """Packed rows in one forward and backward pass; divides batch_size."""
    prefetch: Annotated[int, AT_LEAST_1] = 4
    """Batches that are made ahead, on other threads."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """The training loss."""

    name: str = "soft_cross_entropy"
    """Votes: soft_cross_entropy, count_cross_entropy, dirichlet_multinomial. Texts: sft, dft. Both in a mixture, with
    config.model.head=text: votes_and_texts. Preferences: dpo, dpo_dirichlet, dpo_per_token, robust_dpo, hinge, ipo,
    ipo_per_token, exo, nca, bco, sppo, apo_zero, apo_down, discopop, simpo, orpo. Reward models
    (config.model.head=score): reward_model. Prompts (reinforcement learning): grpo, gspo, cispo, ppo."""
    concentration: Literal["fixed", "learned", "predicted"] = "fixed"
    """Dirichlet concentration s in alpha = s * p: fixed, learned (one scalar), predicted (per question)."""
    initial_concentration: Annotated[float, POSITIVE] = 2.0
    """Value (fixed) or first value of s; 2 makes two even options a uniform prior."""
    beta: Annotated[float, POSITIVE] = 0.1
    """Preferences: a completion's reward is beta * (log p - log p_ref); a larger one stays closer to the reference."""
    label_smoothing: Annotated[float, SHARE_BELOW_HALF] = 0.0
    """Preferences: share of the choices that are taken for flipped (cDPO with dpo)."""
    margin: float = 0.0
    """simpo and reward_model: by how much the chosen text must be ahead."""
    sft_weight: Annotated[float, AT_LEAST_0] = 0.1
    """orpo: weight of the odds ratio beside the likelihood of the chosen text."""
    centring: Annotated[float, AT_LEAST_0] = 0.01
    """reward_model: weight of the squared sum of a question's scores, which keeps them around 0."""
    clip: Annotated[float, POSITIVE] = 0.2
    """Reinforcement learning: how far below 1 the ratio of new to old probability may pull."""
    clip_high: Annotated[float, POSITIVE] | None = None
    """How far above 1; default: as far as below. cispo: the largest ratio itself, 5 by default."""
    dual_clip: Annotated[float, ABOVE_1] | None = None
    """Largest loss of a token with a negative advantage, as a multiple of the advantage (3 is usual); default: none."""
    kl_weight: Annotated[float, AT_LEAST_0] = 0.0
    """Weight of the KL divergence to the weights that the run begins with, in the loss."""
    mismatch_cap: Annotated[float, POSITIVE] | None = None
    """Weighs tokens by the ratio of the trainer's to the sampler's probability, at most so much; default: not."""
    value_weight: Annotated[float, AT_LEAST_0] = 0.1
    """ppo: weight of the critic's loss."""
    value_clip: Annotated[float, POSITIVE] = 0.2
    """ppo: how far the critic may move from what it said of the rollout."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW with warm-up and decay."""

    lr: Annotated[float, AT_LEAST_0] = 3e-5
    """Peak learning rate."""
    head_lr: Annotated[float, AT_LEAST_0] = 3e-3
    """Peak learning rate of a learned or predicted concentration."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """After warm-up: linear or cosine to zero, or constant."""
    warmup: Annotated[float, SHARE] = 0.1
    """Share of the steps over which the rate rises from zero."""
    weight_decay: Annotated[float, AT_LEAST_0] = 0.01
    """Decoupled decay of matrices; norms and biases have none."""
    b1: Annotated[float, BELOW_1] = 0.9
    """Decay of the first moment."""
    b2: Annotated[float, BELOW_1] = 0.999
    """Decay of the second moment."""
    eps: Annotated[float, POSITIVE] = 1e-8
    """Added to the root of the second moment."""
    moment_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of AdamW's moments; bfloat16 halves them, and needs a b2 of 0.95 or less."""
    clip: Annotated[float, POSITIVE] | None = 1.0
    """Largest global gradient norm; none leaves gradients as they are."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    seed: Annotated[int, AT_LEAST_0] = 0
    """Decides data order and new parameters."""
    epochs: Annotated[int, EPOCHS] = 2
    """Passes over the training rows."""
    orders_per_epoch: Annotated[int, AT_LEAST_1] = 2
    """Option orders shown per row and epoch, side by side; later epochs rotate to the next ones."""
    steps: Annotated[int, AT_LEAST_0] | None = None
    """Stop after so many optimizer steps instead; 0 only evaluates."""
    eval_every: Annotated[int, AT_LEAST_1] | None = None
    """Optimizer steps between validations; default: once per epoch."""
    patience: Annotated[int, AT_LEAST_1] | None = None
    """Stop after so many validations without a new best; default: never."""
    select: Literal["best", "last"] = "best"
    """Which weights are scored at the end and used later: best (on validation) or last."""
    checkpoint_minutes: Annotated[float, POSITIVE] = 10.0
    """A checkpoint is written this often, and kept until the next one is whole: at most so much work is lost."""
    checkpoint_every: Annotated[int, AT_LEAST_1] | None = None
    """Optimizer steps between checkpoints that are kept for good; default: only the best and the last one are."""
    log_every: Annotated[int, AT_LEAST_1] = 1
    """Optimizer steps between lines of metrics.jsonl."""
    profile_steps: Annotated[int, AT_LEAST_0] = 0
    """Traces so many steps with JAX's profiler, from the third on, into the run's `profile/`."""

    def __post_init__(self) -> None:
        check_fields(self)
