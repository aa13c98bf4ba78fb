"""Settings of sampling."""

import dataclasses
from typing import Annotated, ClassVar

from moral_jax.config.checks import AT_LEAST_0, AT_LEAST_1, SHARE, check_fields


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """How replies are written. A model's own generation_config.json is never read."""

    SECTION: ClassVar[str] = "rollout.sample"

    n: Annotated[int, AT_LEAST_1] = 1
    """Replies to each prompt."""
    max_tokens: Annotated[int, AT_LEAST_1] = 128
    """Tokens of a reply at most."""
    temperature: Annotated[float, AT_LEAST_0] = 1.0
    """Logits are divided by it; 0: the likeliest token."""
    top_p: Annotated[float, SHARE] = 1.0
    """Only the fewest likeliest tokens that have this probability together; 1: all."""
    top_k: Annotated[int, AT_LEAST_0] = 0
    """Only so many likeliest tokens; 0: all."""
    min_p: Annotated[float, SHARE] = 0.0
    """Only tokens at least so likely as this share of the likeliest; 0: all."""
    seed: Annotated[int, AT_LEAST_0] = 0
    """Of the random numbers."""
    slots: Annotated[int, AT_LEAST_1] | None = None
    """Replies written at once; default: as many as there are, up to 32. Other numbers round differently."""

    def __post_init__(self) -> None:
        check_fields(self)
