"""Settings of scoring and statistics."""

import dataclasses

from moral_jax.config.checks import check


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Scoring and statistics."""

    batch_size: int = 2
    """Packed rows in one scoring pass."""
    before: bool = True
    """Score the model before training too; false where another run of it has."""
    test: bool = True
    """Score the test rows; false for searches, which must not see them."""
    bootstrap: int = 1000
    """Resamples behind every 95 % interval."""
    best_draws: int = 1000
    """Posterior draws behind the BEST yardstick."""
    seed: int = 0
    """Of both."""

    def __post_init__(self) -> None:
        check(self, "batch_size", self.batch_size >= 1, "at least 1")
        check(self, "bootstrap", self.bootstrap >= 100, "at least 100")
        check(self, "best_draws", self.best_draws >= 10, "at least 10")
