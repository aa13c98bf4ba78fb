"""Who writes completions, says how likely they are, and rewrites prompts: a local model, or a rule with a weakness."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from moral_jax.config import Config
from moral_jax.config.sample import SampleConfig
from moral_jax.config.task import TaskConfig
from moral_jax.respondents.planted import NAME, Planted
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.origin import NOT_BEGUN
from moral_jax.runs.records import as_given
from moral_jax.types import Example, UserError

if TYPE_CHECKING:
    from moral_jax.respondents.local import LocalRespondent

REWRITE = "Say the following in other words, in one line, and keep it harmless.\n\n{prompt}"


class Writer(Protocol):
    """Whoever writes completions of prompts."""

    @property
    def about(self) -> dict[str, Any]:
        """What tells it from others. JSON."""
        ...

    def write(self, prompts: Sequence[str], n: int, seed: int) -> list[list[str]]:
        """Returns n completions of each prompt; those of one do not depend on the others."""
        ...

    def weigh(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, int]]:
        """Returns the log-probability of a completion of a prompt, nats, and the tokens that it is the sum of."""
        ...


class LocalWriter:
    """Weights on this machine."""

    def __init__(self, config: Config, run: RunDirectory | None, how: SampleConfig):
        """Finds the model; loads no weights.

        Args:
          how: completions are written; their number and seed are those of each call.
        """
        self._config, self._run, self._how = config, run, how

    @functools.cached_property
    def _respondent(self) -> "LocalRespondent":
        from moral_jax.workflows.evaluate import local_respondent, on_texts

        texts = TaskConfig(name="texts", replies="last")
        return local_respondent(on_texts(self._config, texts), self._run, NOT_BEGUN)[0]

    @property
    def about(self) -> dict[str, Any]:
        """The model and the hashes of its files."""
        return self._respondent.about

    def write(self, prompts: Sequence[str], n: int, seed: int) -> list[list[str]]:
        """Samples."""
        from dataclasses import replace

        examples = [_example(prompt, "", f"prompt {i}") for i, prompt in enumerate(prompts)]
        found = dict(self._respondent.sample(examples, replace(self._how, n=n, seed=seed), []))
        return [[sample.text for sample in found[place]] for place in range(len(prompts))]

    def weigh(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, int]]:
        """Reads each completion after its prompt."""
        examples = [_example(prompt, text, f"pair {i}") for i, (prompt, text) in enumerate(pairs)]
        asks = as_given(examples)
        self._respondent.prepare({"completions": asks})
        found = self._respondent.weigh(asks, "completions")
        return [(float(logp[0]), int(n[0])) for logp, n in zip(found.logp_EC, found.tokens_EC, strict=True)]


def _example(prompt: str, text: str, name: str) -> Example:
    return Example(name, "", (text,), (1.0,), text=prompt, exchangeable=True)


def of(config: Config, run: Path | None, how: SampleConfig) -> Writer:
    """Returns the writer that a config names.

    Raises:
      UserError: it writes no texts.
    """
    who = config.respondent
    if who.kind == "scripted" and (who.name or "").startswith(NAME):
        return Planted(str(who.name))
    if who.kind != "local":
        raise UserError(
            f"config.respondent.kind={who.kind!r}: writes no completions and cannot say how likely they are; name a "
            f"local model or a run, or scripted:{NAME}FILE to try it without weights"
        )
    return LocalWriter(config, RunDirectory(run) if run else None, how)


class Rewriter(Protocol):
    """Whoever proposes other prompts."""

    about: str

    def rewrite(self, prompt: str, n: int, seed: int) -> list[str]:
        """Returns n prompts near another one."""
        ...


class Words:
    """Puts one word in the place of another, or adds one: words of the prompts that the search begins with."""

    about = "words"

    def __init__(self, prompts: Sequence[str]):
        self.pool = sorted({word for prompt in prompts for word in prompt.split()})

    def rewrite(self, prompt: str, n: int, seed: int) -> list[str]:
        """Draws."""
        rng, out = np.random.default_rng(seed), []
        for _ in range(n):
            words = prompt.split()
            place, new = int(rng.integers(len(words))), self.pool[int(rng.integers(len(self.pool)))]
            adds = int(rng.integers(2))
            out.append(" ".join([*words[:place], new, *words[place + 1 - adds :]]))
        return out


class Model:
    """Asks a model for other words."""

    def __init__(self, name: str, writer: Writer):
        self.about, self._writer = name, writer

    def rewrite(self, prompt: str, n: int, seed: int) -> list[str]:
        """Samples; the first line of each reply counts, and an empty one is no prompt."""
        [replies] = self._writer.write([REWRITE.format(prompt=prompt)], n, seed)
        lines = (reply.strip().splitlines() for reply in replies)
        return [" ".join(line[0].split()).strip("\"'") for line in lines if line]
