"""Settings of AI Development Support: how records are written, and what is made of them."""

import dataclasses
from typing import Annotated, ClassVar

from moral_jax.config.checks import AT_LEAST_0, AT_LEAST_1, SHARE_BELOW_1, check, check_fields


@dataclasses.dataclass(frozen=True)
class RecordsConfig:
    """How a model writes records of a cycle, and the reply that each ends in."""

    SECTION: ClassVar[str] = "records"

    replies: Annotated[int, AT_LEAST_1] = 4
    """Records of each scenario, each with a cycle and a reply of its own."""
    max_tokens: Annotated[int, AT_LEAST_1] = 128
    """Tokens of each part of a record at most."""
    temperature: Annotated[float, AT_LEAST_0] = 0.7
    """Of every part; 0: the likeliest token, and all records of a scenario alike."""
    seed: Annotated[int, AT_LEAST_0] = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        check_fields(self)
        alike = self.temperature == 0 and self.replies > 1
        check(self, "replies", not alike, "1, as all records of a scenario are alike at --temperature=0")


@dataclasses.dataclass(frozen=True)
class LearnedConfig:
    """Which records are learned, and which are compared."""

    SECTION: ClassVar[str] = "learned"

    least: float = 4.0
    """Lowest stage whose replies are learned, 1 to 6."""
    gap: float = 0.5
    """Stages by which the replies of a pair differ at least."""
    test: Annotated[float, SHARE_BELOW_1] = 0.25
    """Share of the scenarios that is held out."""

    def __post_init__(self) -> None:
        check_fields(self)
        check(self, "least", 1 <= self.least <= 6, "a stage from 1 to 6")
        check(self, "gap", 0 < self.gap <= 5, "above 0, and 5 at most")
        check(self, "test", self.test > 0, "a share above 0")
