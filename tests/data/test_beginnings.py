"""Which questions lie side by side: the way that saves the most tokens, checked against every other way."""

import itertools

import numpy as np
import pytest

from moral_jax.data import beginnings
from moral_jax.data.encode import Encoded
from moral_jax.data.layout import Questions
from moral_jax.data.tokens import Text
from moral_jax.types import Example


def questions(texts, of_example):
    examples = [Example(str(i), "q", ("a", "b"), (1.0, 1.0)) for i in range(max(of_example) + 1)]
    seen, items = {}, []
    for e in of_example:
        items.append((e, ((0, 1), (1, 0))[seen.setdefault(e, 0)]))
        seen[e] += 1
    encoded = [Encoded((Text(np.array(t), np.zeros(len(t), int), None),), ((1,), (2,))) for t in texts]
    return Questions(examples, items, encoded, 0, False)


def saved(texts, groups):
    """Tokens that groups hold once in place of several times, beyond what all texts begin with."""

    def common(of):
        return next((k for k, column in enumerate(zip(*(t[:-1] for t in of), strict=False)) if len(set(column)) > 1),
                    min(len(t) - 1 for t in of))  # fmt: skip

    shared = common(texts)
    return sum((len(g) - 1) * (common([texts[i] for i in g]) - shared) for g in groups)


def partitions(items):
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for size in range(len(rest) + 1):
        for others in itertools.combinations(rest, size):
            for more in partitions([i for i in rest if i not in others]):
                yield [[first, *others], *more]


@pytest.mark.parametrize("seed", range(6))
def test_no_grouping_saves_more(seed):
    rng = np.random.default_rng(seed)
    texts = [[0, 0, *rng.integers(1, 3, rng.integers(2, 7)).tolist(), 9 + i] for i in range(7)]
    found = beginnings.side_by_side(questions(texts, list(range(7))), 7)
    best = max(saved(texts, groups) for groups in partitions(list(range(7))))
    assert saved(texts, found[-1]) == best > 0
    assert sorted(i for group in found[-1] for i in group) == list(range(7))


def test_pairs_that_show_one_option_first_lie_side_by_side():
    """Three outcomes in all pairs and both orders: the orders of a pair have nothing in common, those of an outcome
    have."""
    outcomes = {0: [5, 5, 5], 1: [6, 6, 6], 2: [7, 7, 7]}
    pairs = [order for pair in itertools.combinations(range(3), 2) for order in (pair, pair[::-1])]
    texts = [[1, 2, *outcomes[a], 3, *outcomes[b], 4] for a, b in pairs]
    usual, found = beginnings.side_by_side(questions(texts, [0, 0, 1, 1, 2, 2]), 4)
    assert usual == [[0, 1], [2, 3], [4, 5]]
    assert sorted(sorted(pairs[i][0] for i in group) for group in found) == [[0, 0], [1, 1], [2, 2]]


def test_orders_of_a_question_stay_together_where_its_text_comes_first():
    texts = [[1, 10 + e, 20 + e, 3 + o] for e in range(4) for o in range(2)]
    assert beginnings.side_by_side(questions(texts, [0, 0, 1, 1, 2, 2, 3, 3]), 4) == [[[0, 1], [2, 3], [4, 5], [6, 7]]]


def test_a_group_is_no_larger_than_a_row_holds():
    texts = [[1, 2, 3, 4, 10 + i] for i in range(4)] + [[1, 8, 9]]
    found = beginnings.side_by_side(questions(texts, list(range(5))), 2)[-1]
    assert max(map(len, found)) == 2
