"""Do utilities hang together: cycles, expected utility of lotteries, and the value of states by where they lead."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

TRIADS, SEED = 1000, 42
LOTTERY_PAIRS = 1000
DISCOUNT, FIT_TO_U = 0.99, 0.1  # of the next state's value; weight of the distance to utilities
STEPS, RATE = 1000, 0.01
SHUFFLES = 100


def triads(pairs_E2: np.ndarray, most: int = TRIADS, seed: int = SEED) -> np.ndarray:
    """Returns triples of pairs (a b, b c, a c) that were all asked, a < b < c, as places in E, [T, 3].

    Args:
      pairs_E2: the pairs, the smaller outcome first.
      most: random ones of them, where there are more.
    """
    place = {(int(i), int(j)): k for k, (i, j) in enumerate(pairs_E2)}
    above: dict[int, set[int]] = {}
    for i, j in place:
        above.setdefault(i, set()).add(j)
    found = np.array(
        [
            (k, place[b, c], place[a, c])
            for (a, b), k in sorted(place.items())
            for c in sorted(above[a] & above.get(b, set()))
        ],
        int,
    ).reshape(-1, 3)
    if len(found) <= most:
        return found
    return found[np.sort(np.random.default_rng(seed).choice(len(found), most, replace=False))]


def cycle(p_ab: np.ndarray, p_bc: np.ndarray, p_ac: np.ndarray) -> np.ndarray:
    """Returns the probability that three choices make a cycle, a over b over c over a or the other way round."""
    return p_ab * p_bc * (1 - p_ac) + (1 - p_ab) * (1 - p_bc) * p_ac


def _z(x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / (x.std() or 1.0)


def expected_utility(u_L: np.ndarray, expected_L: np.ndarray, seed: int = SEED) -> dict[str, float]:
    """Compares the utilities of lotteries with the expected utilities of their outcomes.

    Returns:
      "correlation" (Pearson), "distance" (mean |z(u) - z(expected)|), and "order", the share of at most 1,000 pairs of
      lotteries that both put in the same order.
    """
    pairs = np.array(list(itertools.combinations(range(len(u_L)), 2)))
    if len(pairs) > LOTTERY_PAIRS:
        pairs = pairs[np.random.default_rng(seed).choice(len(pairs), LOTTERY_PAIRS, replace=False)]
    i, j = pairs.T
    same = np.sign(u_L[i] - u_L[j]) == np.sign(expected_L[i] - expected_L[j])
    is_flat = u_L.std() == 0 or expected_L.std() == 0
    return {
        "correlation": 0.0 if is_flat else float(np.corrcoef(u_L, expected_L)[0, 1]),
        "distance": float(np.abs(_z(u_L) - _z(expected_L)).mean()),
        "order": float(same.mean()),
    }


def expected(mu_N: np.ndarray, of: Sequence[Mapping[int, float]]) -> np.ndarray:
    """Returns the expected utility of each lottery, whose probabilities sum to 1."""
    return np.array([sum(mu_N[i] * p for i, p in one.items()) for one in of])


def lottery_numbers(mu_N: np.ndarray, lotteries: Mapping[int, Mapping[int, float]]) -> dict[str, float]:
    """Returns `expected_utility` of the outcomes that are lotteries: outcome -> outcomes and their probabilities."""
    return expected_utility(mu_N[list(lotteries)], expected(mu_N, list(lotteries.values())))


def values_of_states(u_S: np.ndarray, following: Sequence[Sequence[int]], is_first_S: np.ndarray) -> np.ndarray:
    """Returns V_new = R + 0.99 mean V(next) of each state.

    V and R minimise mean (V_new - V)^2 + 0.1 mean (V_new - U)^2, R = 0 in the first state of each process: what is
    observed there is worth only what it leads to. By Adam with a rate of 0.01 in 1,000 steps (arXiv 2502.08640), from V
    = U and the R that fits it.

    Args:
      u_S: utilities.
      following: the states that may come next, all equally likely; none: the end.
    """
    count = len(u_S)
    next_SS = np.zeros((count, count))
    for s, states in enumerate(following):
        next_SS[s, list(states)] = 1 / max(1, len(states))
    x = np.stack([u_S, np.where(is_first_S, 0.0, u_S - DISCOUNT * next_SS @ u_S)])  # V and R
    m, v = np.zeros_like(x), np.zeros_like(x)
    for step in range(1, STEPS + 1):
        new_S = x[1] + DISCOUNT * next_SS @ x[0]
        own, fit = 2 * (new_S - x[0]) / count, 2 * FIT_TO_U * (new_S - u_S) / count
        g = np.stack([DISCOUNT * next_SS.T @ (own + fit) - own, np.where(is_first_S, 0.0, own + fit)])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x -= RATE * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return x[1] + DISCOUNT * next_SS @ x[0]


def instrumental(mu_N: np.ndarray, following: Mapping[int, Sequence[int]], seed: int = SEED) -> dict[str, Any]:
    """Returns "distance", mean |U - V_new| over states, and "shuffled", what utilities in a random order of states have
    on average.

    Args:
      following: state -> states that may come next. First are those that no state leads to.
    """
    states = list(following)
    place = {state: s for s, state in enumerate(states)}
    led_to = {n for after in following.values() for n in after}
    is_first_S = np.array([state not in led_to and bool(following[state]) for state in states])
    after = [[place[n] for n in following[state]] for state in states]
    u_S, rng = mu_N[states], np.random.default_rng(seed)

    def distance(u: np.ndarray) -> float:
        return float(np.abs(u - values_of_states(u, after, is_first_S)).mean())

    shuffled = [distance(rng.permutation(u_S)) for _ in range(SHUFFLES)]
    return {"distance": distance(u_S), "shuffled": float(np.mean(shuffled)), "states": len(states)}
