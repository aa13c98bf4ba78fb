"""What a probe would find without the label: control labels, shuffled labels, words alone.

A control task (Hewitt and Liang, 2019, arXiv 1909.03368) gives every word type a random label. A probe that is as good
at it as at the true label shows its own capacity, not what states are about: selectivity is accuracy less control
accuracy. A row of many words has the label that the random weights of its word types sum to.
"""

import re
from collections.abc import Sequence

import numpy as np

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def words_of(text: str) -> list[str]:
    """Returns the words of a text in lower case."""
    return WORD.findall(text.lower())


def bag(words: Sequence[Sequence[str]]) -> tuple[np.ndarray, list[str]]:
    """Returns how often each word type stands in each row, [E, types], and the types."""
    types = sorted({word for of_row in words for word in of_row})
    place = {word: i for i, word in enumerate(types)}
    counts = np.zeros((len(words), len(types)))
    for row, of_row in enumerate(words):
        for word in of_row:
            counts[row, place[word]] += 1
    return counts, types


def recurring(counts_EW: np.ndarray, groups_E: np.ndarray) -> np.ndarray:
    """Returns which word types can be learned and tested, [types]: those in several groups that tell rows apart."""
    there_GW = np.zeros((groups_E.max() + 1, counts_EW.shape[1]), bool)
    np.logical_or.at(there_GW, groups_E, counts_EW > 0)
    return (there_GW.sum(0) > 1) & (np.ptp(counts_EW, axis=0) > 0)


def labels(
    words: Sequence[Sequence[str]], labels_E: np.ndarray, groups_E: np.ndarray, seeds: Sequence[int]
) -> np.ndarray | None:
    """Returns control labels, [seeds, E], in the shares of the true ones; None where no word type recurs.

    Rows with the same words have the same label, whatever group they are of.
    """
    counts_EW, _ = bag(words)
    counts_EW = counts_EW[:, recurring(counts_EW, groups_E)]
    if not counts_EW.size or not np.ptp(counts_EW, axis=0).any():
        return None
    _, sizes_K = np.unique(labels_E, return_counts=True)
    out = []
    for seed in seeds:
        rng = np.random.default_rng((seed, 1))
        weight_E = np.round(counts_EW @ rng.normal(size=counts_EW.shape[1]), 9)
        order_K = rng.permutation(len(sizes_K))
        ends = np.cumsum(sizes_K[order_K])[:-1]
        bounds = np.sort(weight_E)[ends]
        out.append(order_K[np.searchsorted(bounds, weight_E, side="right")])
    return np.stack(out)


def shuffled(labels_E: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
    """Returns labels that say nothing: the true ones in random order, [seeds, E]."""
    return np.stack([np.random.default_rng((seed, 2)).permutation(labels_E) for seed in seeds])
