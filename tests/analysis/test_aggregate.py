"""Aggregators on golden values, and what each must hold."""

import numpy as np
import pytest

from moral_jax.analysis import aggregate

# 5 people rank x y z, 4 y z x, 3 z y x
BALLOTS, PEOPLE = np.array([[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 2.0]]), np.array([5.0, 4.0, 3.0])
UTILITIES = np.array([[1.0, 0.4, 0.0], [0.0, 1.0, 0.7], [0.0, 0.5, 1.0]])


@pytest.mark.parametrize(
    ("way", "values", "scores", "winner"),
    [
        ("plurality", BALLOTS, (5, 4, 3), "x"),
        ("Borda", BALLOTS, (10, 16, 10), "y"),
        ("Condorcet", BALLOTS, (0, 2, 1), "y"),  # 7:5 and 9:3
        ("mean", UTILITIES, (0.416667, 0.625, 0.483333), "y"),
        ("worst group", UTILITIES, (0, 0.4, 0), "y"),
        ("Nash", UTILITIES, (0.000005, 0.574014, 0.001269), "y"),
    ],
)
def test_a_way(way, values, scores, winner):
    found = aggregate.WAYS[way](values, PEOPLE)
    assert found == pytest.approx(scores, abs=2e-3 if way == "Nash" else 1e-6)
    assert ["xyz"[i] for i in aggregate.winners(found)] == [winner]


def test_nash_is_the_geometric_mean():
    values = np.array([[0.5, 0.2], [0.1, 0.8]])
    assert aggregate.nash(values, np.array([1.0, 1.0])) == pytest.approx([np.sqrt(0.05), np.sqrt(0.16)])
    assert aggregate.nash(values, np.array([3.0, 1.0])) == pytest.approx([0.5**0.75 * 0.1**0.25, 0.2**0.75 * 0.8**0.25])


@pytest.mark.parametrize("way", aggregate.WAYS)
def test_names_of_options_do_not_matter_and_all_alike_is_a_tie(way):
    rng = np.random.default_rng(0)
    values, weights, order = rng.uniform(size=(4, 5)), rng.uniform(1, 3, 4), rng.permutation(5)
    found = aggregate.WAYS[way](values, weights)
    assert aggregate.WAYS[way](values[:, order], weights) == pytest.approx(found[order])
    assert aggregate.winners(aggregate.WAYS[way](np.full((3, 3), 0.5), np.ones(3))) == [0, 1, 2]


@pytest.mark.parametrize("way", aggregate.WAYS)
def test_what_all_groups_value_most_wins(way):
    values = np.array([[0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3]])
    assert aggregate.winners(aggregate.WAYS[way](values, np.array([1.0, 2.0, 3.0]))) == [1]
