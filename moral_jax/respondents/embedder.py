"""Texts to the mean states of a frozen model: what a linear probe is fitted to."""

from collections.abc import Callable, Sequence

import numpy as np

from moral_jax import sharding
from moral_jax.config import Config
from moral_jax.inference.states import mean_states
from moral_jax.respondents.encode import ModelFiles
from moral_jax.types import Params


class Embedder:
    """Reads texts with a model that is not trained. Every text is read once."""

    def __init__(self, config: Config, files: ModelFiles, load: Callable[[], Params]):
        """Loads nothing yet.

        Args:
          load: returns the parameters as `models.api.cast_for_scoring` has them.
        """
        self.config, self.files, self._load = config, files, load
        self._params: Params | None = None
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the mean of the last hidden states over the tokens of each text, [E, D].

        A text longer than a row, or than the model's positions, loses its middle.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= zip(new, self._read(new), strict=True)
        return np.stack([self._known[text] for text in texts])

    def _read(self, texts: list[str]) -> np.ndarray:
        if self._params is None:
            self._params = self._load()
        data, model, tokenizer = self.config.data, self.files.model, self.files.tokenizer
        room = min(data.length, model.spec.max_positions)
        ids = [_cut(x, room) for x in tokenizer(texts)["input_ids"]]
        rows = sharding.micro_batch_rows(self.config.eval.batch_size, model.compute.mesh)
        return mean_states(model, self._params, ids, data.length, rows, "texts")


def _cut(ids: list[int], room: int) -> list[int]:
    head = (room + 1) // 2
    return ids if len(ids) <= room else ids[:head] + ids[len(ids) - (room - head) :]
