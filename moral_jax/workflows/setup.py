"""All that a training run is made of, before anything is loaded."""

import dataclasses

from moral_jax.config import Config
from moral_jax.data import pipeline
from moral_jax.objectives.base import Objective
from moral_jax.respondents.encode import ModelFiles
from moral_jax.respondents.local import Scoring
from moral_jax.runs.records import Asks
from moral_jax.tasks import load
from moral_jax.types import Source
from moral_jax.workflows.local_model import InitialParams
from moral_jax.workflows.rollouts import Rollouts


@dataclasses.dataclass(frozen=True)
class TrainingSetup:
    """A run: its model, rows, batches and objective. `workflows.build` makes it."""

    config: Config
    files: ModelFiles
    data: load.Dataset
    scored: dict[str, Asks]  # validation and test
    scoring: Scoring
    prompts: dict[str, str]  # SHA-256 of all that is asked, by split
    objective: Objective
    batches: pipeline.Batches | None  # None: nothing is trained, or rollouts are
    total: int  # optimizer steps
    initial: InitialParams
    rollouts: Rollouts | None = None  # of reinforcement learning

    @property
    def source(self) -> Source:
        """Where batches come from; of a run that trains."""
        source = self.batches if self.rollouts is None else self.rollouts
        assert source is not None, "a run that trains nothing"
        return source
