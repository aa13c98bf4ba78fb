"""Which questions lie side by side in a row, so that they hold the most of what they begin with in common.

The orders of one question begin alike where a text comes first. Where options come first, as in pairs of outcomes,
different questions do: all that show the same option first. The way that fills fewer rows is taken.
"""

import itertools

import numpy as np

from moral_jax.data.layout import Questions

MOST = 50_000  # items beyond which only the orders of a question are looked at: what is long is not held in memory


def by_example(questions: Questions) -> list[list[int]]:
    """Returns the items of each example, which follow one another."""
    of_example = itertools.groupby(range(len(questions.items)), key=lambda item: questions.items[item][0])
    return [list(items) for _, items in of_example]


def side_by_side(questions: Questions, most: int) -> list[list[list[int]]]:
    """Returns the ways of grouping all items that are worth a try: by example, and by beginning where that saves more
    tokens.

    Args:
      most: questions in a row.
    """
    usual = by_example(questions)
    if questions.is_encoder or not 1 < len(questions.items) <= MOST or int(questions.measures.texts_E.max()) > 1:
        return [usual]
    found, saved = _by_beginning(questions, most)
    return [usual, found] if saved > _saved(questions, usual) else [usual]


def _words(questions: Questions) -> list[np.ndarray]:
    """Returns the tokens of each item, the last one left out, as it is never shared."""
    return [encoded.texts[0].tokens_T[:-1] for encoded in questions.encoded]


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Returns how many tokens two texts begin with in common."""
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if len(differ) else length


def _saved(questions: Questions, groups: list[list[int]]) -> int:
    """Returns how many tokens some groups need not hold twice, beyond what all questions begin with."""
    words, shared = _words(questions), len(questions.shared_T)
    out = 0
    for group in groups:
        common = min((_common(words[a], words[b]) for a, b in itertools.pairwise(group)), default=shared)
        out += (len(group) - 1) * max(0, common - shared)
    return out


def _by_beginning(questions: Questions, most: int) -> tuple[list[list[int]], int]:
    """Returns the groups of neighbours in the order of their tokens that save the most, and how many tokens they save.

    By dynamic programming: the best end of a group at each place, from the best before its beginning.
    """
    words, shared = _words(questions), len(questions.shared_T)
    order = sorted(range(len(words)), key=lambda item: words[item].astype(">u4").tobytes())
    alike = [0, *(max(0, _common(words[a], words[b]) - shared) for a, b in itertools.pairwise(order))]
    best, begins = [0], [0]  # by number of items: tokens saved so far, and where the last group begins
    for end in range(1, len(order) + 1):
        choice, saved, common = end - 1, best[end - 1], None
        for begin in range(end - 2, max(-1, end - 1 - most), -1):
            common = alike[begin + 1] if common is None else min(common, alike[begin + 1])
            if common == 0:
                break
            if best[begin] + (end - begin - 1) * common > saved:
                choice, saved = begin, best[begin] + (end - begin - 1) * common
        best.append(saved)
        begins.append(choice)
    groups, end = [], len(order)
    while end:
        groups.append(order[begins[end] : end])
        end = begins[end]
    return groups[::-1], best[-1]
