"""Our side of `generate.py`: a worker process."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import workers
from ours import device_peak

from moral_jax.config import parsing
from moral_jax.config.respondent import model_flags
from moral_jax.config.sample import SampleConfig
from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.inference import generate
from moral_jax.inference.sampler import Sampler
from moral_jax.respondents import sampling
from moral_jax.runs.origin import NOT_BEGUN
from moral_jax.workflows.evaluate import local_respondent, on_texts
from moral_jax.workflows.generate import prompts_of


class Ours:
    """A model and its programs; each shape of work keeps its own, as a server would."""

    def __init__(self, model: str, prompts: str, flags: list[str]):
        config = parsing.from_flags([*flags, *model_flags(model)], file_needed=False)
        respondent, _ = local_respondent(on_texts(config, TaskConfig(name="prompts")), None, NOT_BEGUN)
        encoder = respondent.scoring.encoder
        self.model, self.params = encoder.files.model, respondent.params
        self.asked = sampling.asked_of(encoder, prompts_of(prompts, FieldsConfig()).rows, 64)
        self.samplers: dict[tuple[int, ...], Sampler] = {}
        self.about = {
            "weights": str(encoder.files.path),
            "vocab": self.model.spec.vocab,
            "bytes": sum(x.nbytes for x in jax.tree.leaves(self.params[self.model.backbone])),
        }

    def _replies(self, ids: list[list[int]], tokens: list[int], how: SampleConfig) -> list[list[generate.Reply]]:
        asked = [generate.Prompt(x, i, n) for i, (x, n) in enumerate(zip(ids, tokens, strict=True))]
        shape = (how.n, how.slots or 1, how.max_tokens)
        if shape not in self.samplers:
            self.samplers[shape] = Sampler(self.model, *shape)
        found = dict(generate.generate(self.params, self.model, asked, how, frozenset(), sampler=self.samplers[shape]))
        return [found[i] for i in range(len(asked))]

    def write(self, ids: list[list[int]], tokens: list[int], samples: int) -> float:
        """Seconds of writing so many tokens to each prompt."""
        slots = min(32, len(ids) * samples)
        how = SampleConfig(n=samples, max_tokens=max(tokens), slots=slots)
        began = time.perf_counter()
        found = self._replies(ids, tokens, how)
        took = time.perf_counter() - began
        assert [len(r.tokens) for of in found for r in of] == [n for n in tokens for _ in range(samples)]
        return took

    def read_rate(self) -> float:
        """Bytes a second at which the device reads memory, by a sum over one GiB."""
        if jax.default_backend() == "cpu":  # where XLA's sum is slower than the memory is
            x, total = np.ones(2**27), np.sum
        else:
            x, total = jnp.ones(2**28), jax.jit(jnp.sum)
        took = []
        for _ in range(5):
            began = time.perf_counter()
            jax.block_until_ready(total(x))
            took.append(time.perf_counter() - began)
        return x.nbytes / min(took)

    def prompts(self, count: int) -> list[list[int]]:
        """Token ids of real prompts."""
        return [list(a.prompt.tokens) for a in self.asked[:count]]

    def greedy(self, ids: list[list[int]], tokens: int) -> list[list[int]]:
        """Texts of the likeliest tokens."""
        how = SampleConfig(max_tokens=tokens, slots=len(ids), temperature=0.0)
        found: list[Any] = self._replies(ids, [tokens] * len(ids), how)
        return [of[0].tokens.tolist() for of in found]


if __name__ == "__main__":
    workers.serve({"generate": Ours}, device_peak)
