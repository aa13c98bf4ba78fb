"""Settings of training: batches, loss, optimizer, loop."""

import dataclasses

from moral_jax.config.checks import check, check_choice


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How questions become batches. A row holds several questions; what they all begin with is held once."""

    length: int = 512
    """Tokens in a packed row; longer questions are cut in the middle of their text."""
    questions_per_row: int | None = None
    """At most so many questions share a row, 1 means no packing; default: one for every 20 of its tokens."""
    batch_size: int = 4
    """Packed rows in one optimizer step."""
    micro_batch_size: int = 2
    """Packed rows in one forward and backward pass; divides batch_size."""
    prefetch: int = 4
    """Batches that are made ahead, on other threads."""

    def __post_init__(self) -> None:
        for field in ("length", "batch_size", "micro_batch_size", "prefetch"):
            check(self, field, getattr(self, field) >= 1, "at least 1")
        check(self, "questions_per_row", self.questions_per_row is None or self.questions_per_row >= 1, "at least 1")
        divides = self.batch_size % self.micro_batch_size == 0
        check(self, "micro_batch_size", divides, f"a divisor of batch_size={self.batch_size}")


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """The training loss."""

    name: str = "soft_cross_entropy"
    """soft_cross_entropy, count_cross_entropy, dirichlet_multinomial."""
    concentration: str = "fixed"
    """Dirichlet concentration s in alpha = s * p: fixed, learned (one scalar), predicted (per question)."""
    concentration_value: float = 2.0
    """Value (fixed) or first value of s; 2 makes two even options a uniform prior."""

    def __post_init__(self) -> None:
        check_choice(self, "name", ("soft_cross_entropy", "count_cross_entropy", "dirichlet_multinomial"))
        check_choice(self, "concentration", ("fixed", "learned", "predicted"))
        check(self, "concentration_value", self.concentration_value > 0, "a positive number")
        trains = self.concentration == "fixed" or self.name == "dirichlet_multinomial"
        check(self, "concentration", trains, f"'fixed', because {self.name} does not train it")


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """AdamW with warm-up and decay."""

    lr: float = 3e-5
    """Peak learning rate."""
    head_lr: float = 3e-3
    """Peak learning rate of a learned or predicted concentration."""
    schedule: str = "linear"
    """After warm-up: linear or cosine to zero, or constant."""
    warmup: float = 0.1
    """Share of the steps over which the rate rises from zero."""
    weight_decay: float = 0.01
    """Decoupled decay of matrices; norms and biases have none."""
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    moment_dtype: str = "float32"
    """Type of AdamW's moments; bfloat16 halves them, and wants a b2 of 0.95 or less."""
    clip: float | None = 1.0
    """Largest global gradient norm; none leaves gradients as they are."""

    def __post_init__(self) -> None:
        for field in ("lr", "head_lr"):
            check(self, field, getattr(self, field) >= 0, "zero or more")
        check_choice(self, "schedule", ("linear", "cosine", "constant"))
        check(self, "warmup", 0 <= self.warmup <= 1, "a share in [0, 1]")
        check(self, "weight_decay", self.weight_decay >= 0, "zero or more")
        for field in ("b1", "b2"):
            check(self, field, 0 <= getattr(self, field) < 1, "in [0, 1)")
        check(self, "eps", self.eps > 0, "a positive number")
        check_choice(self, "moment_dtype", ("float32", "bfloat16"))
        check(self, "clip", self.clip is None or self.clip > 0, "a positive number")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    seed: int = 0
    """Decides data order and new parameters."""
    epochs: int = 2
    """Passes over the training rows."""
    orders: int = 2
    """In how many orders of its options a pass shows each row, side by side; the next pass takes the next orders."""
    steps: int | None = None
    """Stop after so many optimizer steps instead; 0 only evaluates."""
    eval_every: int | None = None
    """Optimizer steps between validations; default: once per epoch."""
    patience: int | None = None
    """Stop after so many validations without a new best; default: never."""
    keep: str = "best"
    """Which weights are scored at the end and used later: best (on validation) or last."""
    checkpoint_minutes: float = 10.0
    """A checkpoint is written this often, and kept until the next one is whole: at most so much work is lost."""
    checkpoint_every: int | None = None
    """Optimizer steps between checkpoints that are kept for good; default: only the best and the last one are."""
    log_every: int = 1
    """Optimizer steps between lines of metrics.jsonl."""

    def __post_init__(self) -> None:
        check(self, "epochs", self.epochs >= 0, "zero or more")
        check(self, "orders", self.orders >= 1, "at least 1")
        check(self, "steps", self.steps is None or self.steps >= 0, "zero or more")
        check_choice(self, "keep", ("best", "last"))
        for field in ("eval_every", "patience", "checkpoint_every"):
            check(self, field, getattr(self, field) is None or getattr(self, field) >= 1, "at least 1")
        check(self, "checkpoint_minutes", self.checkpoint_minutes > 0, "a positive number")
        check(self, "log_every", self.log_every >= 1, "at least 1")
