"""Training losses: pure maths on option scores. `OBJECTIVES` is the table, and `Objective` the contract.

An objective maps (scores, batch) to named metrics, each a (sum, weight) over the questions of the batch, and one
of them is "loss". Nothing is averaged here: micro-batches, devices and hosts add sums and weights, and divide once.
"""

from collections.abc import Callable

from moral_jax.objectives import votes
from moral_jax.types import Batch, Metrics, OptionScores

Objective = Callable[[OptionScores, Batch], Metrics]

OBJECTIVES: dict[str, Objective] = {
    "soft_cross_entropy": votes.soft_cross_entropy,
    "count_cross_entropy": votes.count_cross_entropy,
    "dirichlet_multinomial": votes.dirichlet_multinomial,
}
