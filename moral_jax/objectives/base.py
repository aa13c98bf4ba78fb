"""A row of the table of objectives."""

from collections.abc import Callable
from typing import Any, NamedTuple

from moral_jax.types import Batch, Metrics, ReadOut


class Objective(NamedTuple):
    """All that is particular to an objective."""

    loss: Callable[[ReadOut, Batch], Metrics]
    asks: type[Any]  # the kind of `Batch.asks` that it reads
    judged_by: str  # the validation metric by which the best step is chosen
    label: str  # what tables and plots call a model that was trained with it
    reads: tuple[str, ...]  # fields of the config's `objective` section that it reads, beside the name
    columns: tuple[str, ...] = ()  # columns of the batch that are computed before training, such as a reference
