"""A row of the table of objectives."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from moral_jax.types import NEG, Array, Batch, Metrics, OptionScores, Texts, TextScores, Tokens


class Objective(NamedTuple):
    """All that is particular to an objective."""

    loss: Callable[..., Metrics]  # (read-out, batch, and `settings` by keyword)
    asks: type[Any]  # the kind of `Batch.asks` that it reads
    judged_by: str  # the validation metric by which the best step is chosen; "loss" is its own
    label: str  # what tables and plots call a model that was trained with it
    reads: tuple[str, ...]  # fields of the config's `objective` section that the model reads for it
    settings: tuple[str, ...] = ()  # fields of that section that the loss itself takes
    positive: tuple[str, ...] = ()  # settings that must be above 0
    columns: tuple[str, ...] = ()  # columns of the batch that are computed before training, such as a reference
    pairs_only: bool = False  # True if it compares exactly two texts
    kinds: tuple[str, ...] = ("votes", "preferences")  # the kinds of tasks that it is for
    judge: Callable[..., Metrics] | None = None  # what validation computes, if it is not the loss

    def bound(self, section: Any) -> "Objective":
        """Returns the objective with its settings taken from a config's `objective` section."""
        return self._replace(loss=functools.partial(self.loss, **{n: getattr(section, n) for n in self.settings}))

    def on_likelihoods(
        self, logp_EC: Array, tokens_EC: Array, log_concentration_E: Array, counts_EC: Array, columns: dict[str, Array]
    ) -> Metrics:
        """Returns the metrics on log-probabilities of texts that were computed before, all rows at once."""
        one_E = np.ones(len(counts_EC), np.float32)
        nothing = np.zeros((1, 0))
        asks = Texts(
            nothing, nothing, nothing, nothing, counts_EC[None], one_E[None], one_E[None],
            {name: values[None] for name, values in columns.items()}, {},
        )  # fmt: skip
        read = _Likelihoods(TextScores(logp_EC[None], tokens_EC[None]), log_concentration_E[None])
        return (self.judge or self.loss)(read, Batch(Tokens(*[nothing] * 5), asks))


class _Likelihoods(NamedTuple):
    """A read-out of log-probabilities that are known."""

    scores: TextScores
    log_concentration_BQ: Array

    def texts(self) -> TextScores:
        return self.scores

    def options(self) -> OptionScores:
        logits_BQC = np.where(self.scores.tokens_BQC > 0, self.scores.logp_BQC, NEG)
        return OptionScores(logits_BQC, self.log_concentration_BQ)
