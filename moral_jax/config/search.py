"""Settings of a search for prompts, and of writing instructions."""

import dataclasses
from typing import Annotated, ClassVar

from moral_jax.config.checks import AT_LEAST_0, AT_LEAST_1, POSITIVE, SHARE, SHARE_BELOW_1, check, check_fields


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """How prompts are searched for whose completions violate a value."""

    SECTION: ClassVar[str] = "search"

    budget: Annotated[int, AT_LEAST_1] = 96
    """Completions of each value: of the search, and as many of random prompts."""
    completions: Annotated[int, AT_LEAST_1] = 4
    """Completions of a prompt."""
    beam: Annotated[int, AT_LEAST_1] = 8
    """Prompts that are tried at once, and that are kept in the end."""
    proposals: Annotated[int, AT_LEAST_1] = 4
    """Rewrites of a kept prompt, of which the likeliest are tried."""
    threshold: Annotated[float, SHARE] = 0.5
    """From this violation on a completion violates the value, and a prompt is not innocent."""
    penalty: Annotated[float, AT_LEAST_0] = 1.0
    """Weight of a prompt's own violation, in nats."""
    max_tokens: Annotated[int, AT_LEAST_1] = 32
    """Tokens of a completion at most."""
    temperature: Annotated[float, POSITIVE] = 1.0
    """Of completions and rewrites."""
    seed: Annotated[int, AT_LEAST_0] = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        check_fields(self)
        check(
            self, "budget", self.budget >= self.completions, f"at least the {self.completions} completions of a prompt"
        )


@dataclasses.dataclass(frozen=True)
class InstructConfig:
    """How a writer of value instructions is trained on their measured effect."""

    SECTION: ClassVar[str] = "instruct"

    rounds: Annotated[int, AT_LEAST_1] = 3
    """Rounds of writing, measuring and training."""
    instructions: Annotated[int, AT_LEAST_1] = 4
    """Instructions that are written for a prompt, of which the best is learned."""
    completions: Annotated[int, AT_LEAST_1] = 4
    """Completions under each instruction."""
    held_out: Annotated[float, SHARE_BELOW_1] = 0.5
    """Share of the prompts that nothing is learned from, and that the numbers are of."""
    threshold: Annotated[float, SHARE] = 0.5
    """From this violation on a completion violates the value."""
    epochs: Annotated[int, AT_LEAST_1] = 3
    """Passes over the best instructions in each round."""
    lr: Annotated[float, AT_LEAST_0] = 1e-4
    """Learning rate of the writer."""
    max_tokens: Annotated[int, AT_LEAST_1] = 32
    """Tokens of a completion, and of an instruction, at most."""
    temperature: Annotated[float, POSITIVE] = 1.0
    """Of completions and instructions."""
    seed: Annotated[int, AT_LEAST_0] = 0
    """Of everything that is drawn."""

    def __post_init__(self) -> None:
        check_fields(self)
