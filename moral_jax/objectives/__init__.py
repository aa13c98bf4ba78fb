"""Training losses: pure maths on what is read from a forward pass. `OBJECTIVES` is the one table.

A row of the table holds everything about an objective; a new one touches the file of its kind and no other. A loss maps
a read-out and a batch to named metrics, each a (sum, weight), and one of them is "loss". Nothing is averaged here:
micro-batches, devices and hosts add sums and weights, and divide once.
"""

from moral_jax.objectives import language, mixed, policy, preferences, votes
from moral_jax.objectives.base import Objective
from moral_jax.types import UserError

OBJECTIVES: dict[str, Objective] = (
    votes.OBJECTIVES | language.OBJECTIVES | mixed.OBJECTIVES | preferences.OBJECTIVES | policy.OBJECTIVES
)


def get(name: str) -> Objective:
    """Returns the objective of that name.

    Raises:
      UserError: there is none.
    """
    if name not in OBJECTIVES:
        known = " or ".join(repr(known) for known in OBJECTIVES)
        raise UserError(f"config.objective.name={name!r}: no such objective; expected {known}")
    return OBJECTIVES[name]
