"""Logistic regression on counted words or on style: which option's text the votes go to, or which text an option.

The soft votes are weights: a question counts once for each of its options, as much as that option's share.
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from moral_jax.analysis import metrics
from moral_jax.analysis.table import from_examples, pad
from moral_jax.respondents.baselines.simple import Answers, Fitted
from moral_jax.types import Example, UserError

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # C: the inverse of the L2 penalty
MOST_TERMS = 200_000
WORD = r"(?u)\b\w+\b"  # scikit-learn's own rule leaves out words of one letter, and so "I"
PERSONS = (
    ("i", "me", "my", "mine", "myself", "we", "us", "our", "ours"),
    ("he", "him", "his", "she", "her", "hers", "they", "them", "their", "theirs"),
    ("not", "no", "never", "n", "don", "didn", "won", "wouldn", "couldn"),  # as WORD cuts "don't"
)

Features: TypeAlias = "sparse.csr_matrix | np.ndarray"  # a row for each text
Transform = Callable[[list[str]], Features]
Embed = Callable[[Sequence[str]], np.ndarray]  # texts -> mean states of a frozen model, [E, D]
Claims = Callable[[Sequence[Example]], np.ndarray]  # examples -> p_EC


def tfidf(texts: list[str]) -> Transform:
    """Words and pairs of neighbours, log counts times inverse document frequency in `texts`, rows of length one."""
    counted = TfidfVectorizer(token_pattern=WORD, ngram_range=(1, 2), sublinear_tf=True, max_features=MOST_TERMS)
    try:
        return counted.fit(texts).transform
    except ValueError as e:
        raise UserError(f"the training rows hold no words to count ({e})") from e


def _style(text: str) -> list[float]:
    words = re.findall(WORD, text.lower())
    count = max(len(words), 1)
    shape = [np.log1p(len(text)), np.log1p(len(words)), sum(map(len, words)) / count, len(set(words)) / count]
    signs = [len(re.findall(pattern, text)) / max(len(text), 1) for pattern in (r"[^\w\s]", r"\d", r"[A-Z]", r"[?!\"]")]
    return [*shape, *signs, *(sum(w in kind for w in words) / count for kind in PERSONS)]


def style(texts: list[str]) -> Transform:
    """Length, word length, variety, punctuation, digits, capitals, persons and negations; mean 0, deviation 1."""
    scaler = StandardScaler().fit([_style(t) for t in texts])
    return lambda texts: sparse.csr_matrix(scaler.transform([_style(t) for t in texts]))


def _stacked(parts: list[Features]) -> Features:
    return sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.vstack(parts)


def states(embed: Embed, texts: list[str]) -> Transform:
    """Mean states of a frozen model less their mean in `texts`, in one common unit: their deviation (root mean square).

    Each dimension in a unit of its own would make the penalty blind to which ones say most.
    """
    of_training = embed(texts)
    middle, unit = of_training.mean(0), np.sqrt(of_training.var(0).mean())
    return lambda texts: (embed(texts) - middle) / unit


def probe(embed: Embed, train: Sequence[Example], validation: Sequence[Example], seed: int) -> Fitted:
    """A linear probe of a frozen model: a classifier where the options are the same in all rows, else a ranker."""
    fit = classifier if len({e.options for e in train}) == 1 else ranker
    return fit(functools.partial(states, embed), train, validation, seed)


def _softmax(utilities: np.ndarray) -> np.ndarray:
    e = np.exp(utilities - utilities.max())
    return e / e.sum()


def _strongest(make: Callable[[float], Claims], validation: Sequence[Example]) -> Fitted:
    """The C with the lowest soft cross-entropy on the validation rows."""
    if not validation:
        raise UserError("no validation rows to choose the penalty on: raise config.task.validation above 0")
    t = from_examples(validation)
    made = {C: make(C) for C in STRENGTHS}
    losses = {C: float(metrics.cross_entropy(t.replace(p_EC=p(validation))).mean()) for C, p in made.items()}
    best = min(losses, key=lambda C: losses[C])
    claims = made[best]
    return Fitted(lambda examples: Answers(claims(examples)), {"C": best, "validation cross-entropy by C": losses})


def ranker(
    features: Callable[[list[str]], Transform], train: Sequence[Example], validation: Sequence[Example], seed: int
) -> Fitted:
    """p = softmax(w . f(option)). For two options, logistic regression on the difference of their features, without
    intercept: swapping them swaps the answer. More options are taught in pairs (Bradley-Terry)."""
    transform = features([option for e in train for option in e.options])

    def option_features(examples: Sequence[Example]) -> tuple[Features, np.ndarray]:
        """Features of all options in a row, and where each example's begin."""
        starts = np.cumsum([0, *(len(e.options) for e in examples)])
        return transform([option for e in examples for option in e.options]), starts

    f, starts = option_features(train)
    pairs = [
        (starts[e] + i, starts[e] + j, x.counts[i] / sum(x.counts), x.counts[j] / sum(x.counts))
        for e, x in enumerate(train)
        for i in range(len(x.options))
        for j in range(i + 1, len(x.options))
    ]
    first, second, q_first, q_second = map(np.array, zip(*pairs, strict=True))
    difference = f[first] - f[second]
    X, y = _stacked([difference, difference]), np.repeat([1, 0], len(pairs))

    def make(C: float) -> Claims:
        model = LogisticRegression(C=C, fit_intercept=False, max_iter=2000)
        w = model.fit(X, y, np.concatenate([q_first, q_second])).coef_[0]

        def claims(examples: Sequence[Example]) -> np.ndarray:
            f, starts = option_features(examples)
            utilities = np.split(f @ w, starts[1:-1])
            return pad([_softmax(u).tolist() for u in utilities], max(len(u) for u in utilities))

        return claims

    return _strongest(make, validation)


def _judged(example: Example) -> str:
    """What the options are about."""
    return f"{example.title}\n{example.text}".strip() or example.question


def classifier(
    features: Callable[[list[str]], Transform], train: Sequence[Example], validation: Sequence[Example], seed: int
) -> Fitted:
    """Multinomial logistic regression from a text to options that are the same in all rows. One imagined row without
    words and with even votes keeps options that nobody took in training off 0."""
    transform, options = features([_judged(e) for e in train]), len(train[0].options)
    X = transform([*(_judged(e) for e in train), ""])
    q_EC = np.vstack([from_examples(train).q_EC, np.full((1, options), 1 / options)])
    rows, classes = np.nonzero(q_EC)

    def make(C: float) -> Claims:
        model = LogisticRegression(C=C, max_iter=2000).fit(X[rows], classes, q_EC[rows, classes])
        return lambda examples: model.predict_proba(transform([_judged(e) for e in examples]))

    return _strongest(make, validation)
