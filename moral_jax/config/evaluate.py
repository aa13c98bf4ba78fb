"""Settings of scoring and statistics."""

import dataclasses
from typing import Annotated

from moral_jax.config.checks import AT_LEAST_0, AT_LEAST_1, DRAWS, RESAMPLES, check_fields


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Scoring and statistics."""

    batch_size: Annotated[int, AT_LEAST_1] = 2
    """Packed rows in one scoring pass."""
    initial: bool = True
    """Score the model before training too. Set to false if another run already scored the initial model."""
    test: bool = True
    """Score the test rows; false for searches, which must not see them."""
    bootstrap: Annotated[int, RESAMPLES] = 10_000
    """Resamples behind every 95 % interval."""
    best_draws: Annotated[int, DRAWS] = 1000
    """Draws of the true shares (BEST of Scruples), for the metrics without a closed form."""
    seed: Annotated[int, AT_LEAST_0] = 0
    """Of both."""

    def __post_init__(self) -> None:
        check_fields(self)
