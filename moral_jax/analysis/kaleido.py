"""From judged values to a decision (Value Kaleidoscope, arXiv 2309.00779).

What is hardly relevant is left out, and what is much like a more relevant value of its kind: in words (ROUGE-Lsum),
then in meaning (cosine of sentence vectors). With r_i the relevance and v_i the valence of each value that is left,

    p = sum_i r_i v_i / sum_i r_i,

and the entropy of p forecasts how people divide. Relevance says how likely a value is to be named in a situation, not
how much it matters.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from moral_jax.runs.records import entropy

LABELS = ("supports", "opposes", "either")
LEADS = ("Right to ", "Duty to ")
DISTINCT = 0.05  # share of pairs of different values that a fitted threshold may take for the same
Likeness = Callable[[str, str], float]
Vectors = Callable[[Sequence[str]], np.ndarray]  # texts -> [E, D]


class Judged(NamedTuple):
    """A value, right or duty, and what was said of it in a situation."""

    kind: str
    text: str
    relevance: float  # probability that it is relevant
    valence: tuple[float, ...]  # probabilities of LABELS

    @property
    def label(self) -> str:
        """The likeliest valence."""
        return LABELS[int(np.argmax(self.valence))]


class Thresholds(NamedTuple):
    """Below the first a value is left out; above the others it is the same as another one."""

    relevance: Mapping[str, float]  # by kind
    rouge: float
    cosine: float


class Dropped(NamedTuple):
    """A value that was left out, and why."""

    value: Judged
    by: str  # relevance, words or meaning
    likeness: float | None = None
    like: str = ""  # the text that it is too much like


def plain(text: str) -> str:
    """Returns a text without "Right to" or "Duty to", which all rights and duties share."""
    for lead in LEADS:
        if text.startswith(lead):
            return text.removeprefix(lead)
    return text


def rouge(first: str, second: str) -> float:
    """Returns the largest of precision, recall and F of ROUGE-Lsum, on stems, without what all duties begin with.

    With recall and precision "clean environment" is "a clean environment", which F alone would not say.
    """
    from rouge_score import rouge_scorer  # of an extra

    scores = rouge_scorer.RougeScorer(["rougeLsum"], use_stemmer=True).score(plain(first), plain(second))
    return max(scores["rougeLsum"])


def cosine(vectors: Vectors) -> Likeness:
    """Returns the cosine of two texts' vectors."""

    def of(first: str, second: str) -> float:
        a_D, b_D = vectors([first, second])
        return float(a_D @ b_D / np.sqrt((a_D @ a_D) * (b_D @ b_D)))

    return of


def without_likes(
    values: Sequence[Judged], likeness: Likeness, threshold: float, by: str
) -> tuple[list[Judged], list[Dropped]]:
    """Returns values without those that are too much like an earlier one of their kind that is kept, and those."""
    kept: list[Judged] = []
    dropped = []
    for value in values:
        likes = ((likeness(value.text, other.text), other.text) for other in kept if other.kind == value.kind)
        found = next(((x, text) for x, text in likes if x > threshold), None)
        if found:
            dropped.append(Dropped(value, by, *found))
        else:
            kept.append(value)
    return kept, dropped


def keep(
    values: Sequence[Judged], thresholds: Thresholds, vectors: Vectors | None
) -> tuple[list[Judged], list[Dropped]]:
    """Returns the values that are relevant and differ, the most relevant first, and those that are left out.

    Args:
      vectors: sentence vectors; None compares words only.
    """
    relevant = [v for v in values if v.relevance >= thresholds.relevance[v.kind]]
    dropped = [Dropped(v, "relevance") for v in values if v.relevance < thresholds.relevance[v.kind]]
    kept = sorted(relevant, key=lambda v: -v.relevance)  # stable: of equals the first stays
    kept, alike = without_likes(kept, rouge, thresholds.rouge, "words")
    dropped += alike
    if vectors is not None and kept:
        vectors([v.text for v in kept])  # read together
        kept, alike = without_likes(kept, cosine(vectors), thresholds.cosine, "meaning")
        dropped += alike
    return kept, dropped


class Decision(NamedTuple):
    """What the values come to together."""

    p: tuple[float, ...]  # of LABELS
    entropy: float  # nats


def decide(values: Sequence[Judged]) -> Decision | None:
    """Returns the decision of values; None without any that is relevant at all."""
    if not values or not any(v.relevance for v in values):
        return None
    r_E, v_EC = np.array([v.relevance for v in values]), np.array([v.valence for v in values])
    p_C = r_E @ v_EC / np.sum(r_E @ v_EC)
    return Decision(tuple(p_C.tolist()), max(0.0, entropy(p_C)))  # no -0.0


def balanced_accuracy(p_E: np.ndarray, relevant_E: np.ndarray, threshold: float) -> float:
    """Returns the mean of the shares of relevant and of irrelevant values that a threshold puts on their side."""
    said_E = p_E >= threshold
    return float((said_E[relevant_E].mean() + (~said_E)[~relevant_E].mean()) / 2)


def fitted_relevance(p_E: np.ndarray, relevant_E: np.ndarray, default: float) -> float:
    """Returns the threshold of best balanced accuracy: of equals the one nearest to the default, which also
    stands where all rows are on one side."""
    if relevant_E.all() or not relevant_E.any():
        return default
    edges = np.unique(p_E)
    tried = [default, *((edges[1:] + edges[:-1]) / 2).tolist()]
    best = max(balanced_accuracy(p_E, relevant_E, t) for t in tried)
    good = [t for t in tried if balanced_accuracy(p_E, relevant_E, t) == best]
    return min(good, key=lambda t: abs(t - default))


def fitted_likeness(pairs: Sequence[tuple[str, str]], likeness: Likeness, default: float) -> float:
    """Returns the threshold, raised until it takes at most `DISTINCT` of some pairs of different values for the same.

    Rows hold no values that are the same, so they cannot say that a threshold is too high.
    """
    if not pairs:
        return default
    return max(default, min(1.0, float(np.quantile([likeness(a, b) for a, b in pairs], 1 - DISTINCT))))
