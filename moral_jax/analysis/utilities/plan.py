"""Which pairs of outcomes are asked: a pure function of the seed, and of the answers so far.

A twentieth of all pairs is held out, 1,000 at most. Then every outcome is compared with two others, in one ring through
all of them. Then come batches of pairs whose utilities lie close and whose outcomes have been asked about rarely, until
2 N log2 N pairs are fitted (arXiv 2502.08640).
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

HELD_SHARE, MOST_HELD = 0.05, 1000
BATCH = 500  # pairs that are asked before utilities are fitted again
CLOSE, RARE = 0.1, 0.2  # shares of the pairs that are close, and rarely asked about
GROWTH, GROWTHS = 1.5, 5  # both shares grow so far, so often, where too few pairs are both
RING = "ring"
Pair = tuple[int, int]  # two outcomes, the one that comes first in the file first
Utilities = Callable[[list[Pair]], np.ndarray]  # fits the answers to some pairs -> [N]


class Batch(NamedTuple):
    """Pairs that are asked together."""

    name: str
    pairs: list[Pair]
    is_held_out: bool = False


def budget(outcomes: int) -> int:
    """Returns how many pairs are to be fitted: 2 N log2 N."""
    return int(2 * outcomes * math.log2(outcomes))


def held_out_count(outcomes: int) -> int:
    """Returns how many pairs are held out."""
    return min(int(HELD_SHARE * outcomes * (outcomes - 1) / 2), MOST_HELD)


def size(outcomes: int, batch: int = BATCH) -> int:
    """Returns how many pairs will be asked in all."""
    ring, most = min(outcomes, outcomes * (outcomes - 1) // 2), outcomes * (outcomes - 1) // 2
    held = held_out_count(outcomes)
    batches_ = max(0, math.ceil((budget(outcomes) - ring) / batch))
    return min(most, held + ring + batches_ * batch)


class Candidates:
    """The pairs that have not been taken yet, as places in the list of all pairs."""

    def __init__(self, outcomes: int):
        self.outcomes = outcomes
        self.first, self.second = np.triu_indices(outcomes, 1)
        self.is_free = np.ones(len(self.first), bool)

    def free(self) -> np.ndarray:
        """Returns the places of pairs that nobody has taken."""
        return np.flatnonzero(self.is_free)

    def take(self, places: np.ndarray) -> list[Pair]:
        """Returns the pairs at some places, which are free no longer."""
        self.is_free[places] = False
        return [(int(self.first[k]), int(self.second[k])) for k in places]

    def place(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Returns the places of pairs (i, j), in either order."""
        low, high = np.minimum(i, j), np.maximum(i, j)
        return low * (2 * self.outcomes - low - 1) // 2 + high - low - 1

    def random(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Returns the places of random free pairs, as many as there are at most."""
        free = self.free()
        return rng.choice(free, min(count, len(free)), replace=False)


def ring(left: Candidates, rng: np.random.Generator) -> list[Pair]:
    """Returns a random ring through all outcomes, so that each is compared with two others and all hang together; pairs
    of it that are held out are replaced by random ones."""
    around = rng.permutation(left.outcomes)
    wanted = np.unique(left.place(around, np.roll(around, 1))) if left.outcomes > 2 else np.array([0])
    pairs = left.take(wanted[left.is_free[wanted]])
    return pairs + left.take(left.random(rng, len(wanted) - len(pairs)))


def near(left: Candidates, mu_N: np.ndarray, degree_N: np.ndarray, size: int, rng: np.random.Generator) -> list[Pair]:
    """Returns free pairs whose utilities are close and whose outcomes have been asked about rarely, the rest at random.

    Args:
      mu_N: utilities so far.
      degree_N: in how many fitted pairs each outcome stands.
      size: pairs wanted.
    """
    free = left.free()
    gap = np.abs(mu_N[left.first[free]] - mu_N[left.second[free]])
    asked = degree_N[left.first[free]] + degree_N[left.second[free]]
    both = free[:0]
    for grown in range(GROWTHS + 1):
        close, rare = (min(1.0, share * GROWTH**grown) for share in (CLOSE, RARE))
        both = free[(gap <= np.quantile(gap, close)) & (asked <= np.quantile(asked, rare))]
        if len(both) >= size:
            break
    pairs = left.take(rng.permutation(both)[:size])
    return pairs + left.take(left.random(rng, size - len(pairs)))


def batches(outcomes: int, seed: int, utilities: Utilities, size: int = BATCH) -> Iterator[Batch]:
    """Yields what is asked, batch by batch: the held-out pairs, the ring, then close and rarely asked pairs.

    Each batch depends on the seed and on the answers to those before it alone, so a run that is killed goes on with the
    same pairs. As in the paper the last batch is whole, so that a little more than the budget is fitted.

    Args:
      utilities: fits the answers to all pairs that were yielded and not held out; called before each further batch.
      size: of a batch.
    """
    left = Candidates(outcomes)
    rng = np.random.default_rng(seed)
    held = left.take(np.sort(left.random(rng, held_out_count(outcomes))))
    for start in range(0, len(held), size):
        yield Batch(f"held out {start // size + 1}", held[start : start + size], is_held_out=True)
    fitted = ring(left, rng)
    yield Batch(RING, list(fitted))
    number = 0
    while len(fitted) < budget(outcomes) and len(left.free()):
        number += 1
        degree_N = np.bincount(np.array(fitted).ravel(), minlength=outcomes)
        pairs = near(left, utilities(fitted), degree_N, size, np.random.default_rng((seed, number)))
        fitted += pairs
        yield Batch(f"batch {number}", pairs)
