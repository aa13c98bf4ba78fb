"""Baselines that never read: the training votes' prior, draws from it, and rules on the length of the options.

As Scruples has them (arXiv 2008.09094, src/scruples/baselines/resource.py), with one change: a rule there answers with
certainty, so its cross-entropy is infinite. Here it claims what its choice was worth on the training rows.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import ceiling
from moral_jax.analysis.table import from_examples
from moral_jax.types import Example


class Answers(NamedTuple):
    """What a baseline says to some examples."""

    p_EC: np.ndarray  # zero where an example has no such option
    choice_E: np.ndarray | None = None  # the option that a rule picks, which need not be the likeliest; -1 for none


class Fitted(NamedTuple):
    """A baseline that knows the training rows."""

    answer: Callable[[Sequence[Example]], Answers]
    settings: dict[str, Any]  # what was fitted or chosen, for provenance. JSON


def prior(train: Sequence[Example], validation: Sequence[Example], seed: int) -> Fitted:
    """The mean share of the votes, option by option, of the training rows and of an imagined one with even votes."""
    source = ceiling.with_even_rows(from_examples(train))
    return Fitted(lambda examples: Answers(ceiling.mean_share(from_examples(examples), source).p_EC), {})


def stratified(train: Sequence[Example], validation: Sequence[Example], seed: int) -> Fitted:
    """Picks an option at random, as often as training votes do. Knowing its pick says nothing of the votes, so what it
    claims is the prior."""
    claims = prior(train, validation, seed).answer

    def answer(examples: Sequence[Example]) -> Answers:
        p_EC, rng = claims(examples).p_EC, np.random.default_rng(seed)
        drawn_E = (rng.random((len(examples), 1)) > np.cumsum(p_EC, axis=-1)).sum(-1)
        return Answers(p_EC, np.minimum(drawn_E, [len(e.options) - 1 for e in examples]))

    return Fitted(answer, {})


def picks(example: Example, size: Callable[[str], int], sign: int) -> list[int]:
    """The options of extreme size, several where they tie: the smallest for a sign of 1, the largest for -1."""
    sizes = [sign * size(option) for option in example.options]
    return [i for i, s in enumerate(sizes) if s == min(sizes)]


def length_rule(
    size: Callable[[str], int], sign: int, train: Sequence[Example], validation: Sequence[Example], seed: int
) -> Fitted:
    """Picks the option of extreme size and claims the mean share that such options have in training, where one
    imagined row with even votes keeps the claim off 0 and 1. The other options share the rest; a tie claims and picks
    nothing."""
    shares: dict[int, list[float]] = {}
    for example in train:
        first, *ties = picks(example, size, sign)
        if not ties:
            n = len(example.options)
            shares.setdefault(n, [1 / n]).append(example.counts[first] / sum(example.counts))
    claimed = {n: float(np.mean(s)) for n, s in shares.items()}

    def answer(examples: Sequence[Example]) -> Answers:
        p_EC, choice = ceiling.uniform(from_examples(examples)).p_EC, []
        for p_C, example in zip(p_EC, examples, strict=True):
            (first, *ties), n = picks(example, size, sign), len(example.options)
            choice.append(-1 if ties else first)
            if not ties and n in claimed:
                p_C[:n] = (1 - claimed[n]) / (n - 1)
                p_C[first] = claimed[n]
        return Answers(p_EC, np.array(choice))

    return Fitted(answer, {"share of the votes on its pick, by number of options": claimed})


def words(text: str) -> int:
    return len(text.split())
