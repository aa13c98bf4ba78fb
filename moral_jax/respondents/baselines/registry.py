"""The table of baselines, and which rows each can answer."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from moral_jax.respondents.baselines import simple, text
from moral_jax.respondents.baselines.simple import Fitted
from moral_jax.types import Example, UserError

ANY, OWN, SAME = "any options", "options with words of their own", "the same options in all rows"


class Baseline(NamedTuple):
    """How to fit it, to which rows, and what it does."""

    fit: Callable[..., Fitted]  # training rows, validation rows, seed; before them `text.Embed`, if it reads
    needs: str
    description: str
    reads: bool = False  # with the frozen model of the config


BASELINES: dict[str, Baseline] = {
    "prior": Baseline(simple.prior, ANY, "the mean share of the training votes"),
    "stratified": Baseline(simple.stratified, ANY, "a random option, as often as training votes take it"),
    "fewest_words": Baseline(functools.partial(simple.length_rule, simple.words, 1), OWN, "the option of fewest words"),
    "most_words": Baseline(functools.partial(simple.length_rule, simple.words, -1), OWN, "the option of most words"),
    "fewest_characters": Baseline(functools.partial(simple.length_rule, len, 1), OWN, "the shortest option"),
    "most_characters": Baseline(functools.partial(simple.length_rule, len, -1), OWN, "the longest option"),
    "logistic_ranker": Baseline(functools.partial(text.ranker, text.tfidf), OWN, "TF-IDF of the options' words"),
    "style_ranker": Baseline(functools.partial(text.ranker, text.style), OWN, "length, punctuation, persons, negation"),
    "logistic": Baseline(functools.partial(text.classifier, text.tfidf), SAME, "TF-IDF of the words of title and text"),
    "frozen_states": Baseline(text.probe, ANY, "logistic regression on the mean states of a frozen model", reads=True),
}


def get(name: str, train: Sequence[Example]) -> Baseline:
    """The baseline of that name.

    Raises:
      UserError: there is none, or it cannot answer such rows.
    """
    if name not in BASELINES:
        raise UserError(f"{name!r}: no such baseline; there are {', '.join(BASELINES)}")
    if not train:
        raise UserError("no training rows to fit a baseline to: lower config.task.validation or config.task.test")
    found = SAME if len({e.options for e in train}) == 1 else OWN
    if BASELINES[name].needs not in (ANY, found):
        others = ", ".join(n for n, b in BASELINES.items() if b.needs in (ANY, found))
        raise UserError(f"baseline {name!r} needs {BASELINES[name].needs}, these rows have {found}; take {others}")
    return BASELINES[name]
