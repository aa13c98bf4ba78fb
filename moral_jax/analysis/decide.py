"""Chooses an action of a case, and says why (arXiv 2502.21250, whose theorems are this project's reading).

With P_ij the probability that prescript i holds in context j, weights w_ij, probabilities c_j of contexts, utilities
u_ai,

    M_ij = w_ij P_ij,   divided by its column's sum or not,   W_i = sum_j M_ij c_j,   S_a = sum_i u_ai W_i.

The action with the highest S is chosen, or one drawn from softmax(S / T); none if the best is not ahead of the second
by a margin. The utilities of different prescripts need not be commensurable, so the Pareto set stands beside the
choice: the actions that no other one equals under all prescripts and exceeds under one. Sums are `math.fsum`, which no
order of terms changes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

TIE = 1e-12
DRAWS = 1000
Numbers = dict[str, Any]


class Problem(NamedTuple):
    """The numbers of a case: J contexts, I prescripts, A actions."""

    contexts: Sequence[str]
    prescripts: Sequence[str]
    actions: Sequence[str]
    context_J: np.ndarray
    weights_IJ: np.ndarray
    utilities_AI: np.ndarray


class Rule(NamedTuple):
    """How to choose."""

    normalise: bool
    temperature: float
    margin: float
    seed: int


def profile(problem: Problem, p_IJ: np.ndarray, *, normalise: bool) -> np.ndarray:
    """Returns M, [I, J]."""
    m_IJ = problem.weights_IJ * p_IJ
    if not normalise:
        return m_IJ
    sums_J = np.array([math.fsum(column_I) for column_I in m_IJ.T])
    return np.divide(m_IJ, sums_J, out=np.zeros_like(m_IJ), where=sums_J > 0)


def weights(problem: Problem, m_IJ: np.ndarray) -> np.ndarray:
    """Returns what each prescript weighs over all contexts, [I]."""
    return np.array([math.fsum(row_J) for row_J in m_IJ * problem.context_J])


def scores(problem: Problem, p_IJ: np.ndarray, *, normalise: bool) -> np.ndarray:
    """Returns the expected utility of each action, [A]."""
    of_I = weights(problem, profile(problem, p_IJ, normalise=normalise))
    return np.array([math.fsum(row_I) for row_I in problem.utilities_AI * of_I])


def pareto(utilities_AI: np.ndarray) -> list[int]:
    """Returns the actions that no other action dominates."""
    at_least_AA = (utilities_AI[:, None] >= utilities_AI[None]).all(2)
    more_AA = (utilities_AI[:, None] > utilities_AI[None]).any(2)
    return np.flatnonzero(~(at_least_AA & more_AA).any(0)).tolist()


def softmax(scores_A: np.ndarray, temperature: float) -> np.ndarray:
    """Returns softmax(S / T); at T 0 equal shares of those that are best."""
    if temperature == 0:
        best_A = scores_A >= scores_A.max() - TIE
        return best_A / best_A.sum()
    e_A = np.exp((scores_A - scores_A.max()) / temperature)
    return e_A / e_A.sum()


def _choose(actions: Sequence[str], scores_A: np.ndarray, rule: Rule) -> tuple[str | None, str]:
    """Returns the action, or None, and why."""
    ranked = np.sort(scores_A)[::-1]
    margin = float(ranked[0] - ranked[1])
    if margin < rule.margin:
        return None, f"the best is ahead of the second by {margin:.3f}, less than the margin of {rule.margin:g}"
    if rule.temperature > 0:
        by_name = sorted(range(len(actions)), key=lambda i: actions[i])
        p_A = softmax(scores_A, rule.temperature)[by_name]
        drawn = int(np.random.default_rng(rule.seed).choice(len(actions), p=p_A))
        return actions[by_name[drawn]], f"drawn at temperature {rule.temperature:g} with seed {rule.seed}"
    if margin <= TIE:
        tied = sorted(a for a, s in zip(actions, scores_A, strict=True) if s >= ranked[0] - TIE)
        return None, f"{' and '.join(tied)} tie"
    return actions[int(scores_A.argmax())], "the highest score"


def off_by(problem: Problem, scores_A: np.ndarray) -> float | None:
    """Returns by how much all P may be off at once before another action can have the highest score without dividing.

    S_a - S_b changes by at most eps sum_ij |u_ai - u_bi| w_ij c_j. None if no P can change the choice.
    """
    best = int(scores_A.argmax())
    reach_I = (problem.weights_IJ * problem.context_J).sum(1)
    reach_A = np.abs(problem.utilities_AI[best] - problem.utilities_AI) @ reach_I
    others = [
        (scores_A[best] - s) / r for a, (s, r) in enumerate(zip(scores_A, reach_A, strict=True)) if a != best and r
    ]
    return float(min(others)) if others else None


def _again(problem: Problem, p_IJ: np.ndarray, observed_IJ: np.ndarray, rule: Rule) -> float:
    """Returns how often the same action is best where the observations are drawn again."""
    rng, counts_IJ = np.random.default_rng((rule.seed, 1)), observed_IJ.astype(int)
    best = int(scores(problem, p_IJ, normalise=rule.normalise).argmax())
    drawn = (rng.binomial(counts_IJ, p_IJ) / counts_IJ for _ in range(DRAWS))
    return float(np.mean([scores(problem, p, normalise=rule.normalise).argmax() == best for p in drawn]))


def _trace(problem: Problem, p_IJ: np.ndarray, rule: Rule) -> list[Numbers]:
    """Returns what each prescript in each context adds to each action's score."""
    raw_IJ, used_IJ = (profile(problem, p_IJ, normalise=n) for n in (False, rule.normalise))
    out = []
    for j, context in enumerate(problem.contexts):
        for i, prescript in enumerate(problem.prescripts):
            adds_A = problem.utilities_AI[:, i] * used_IJ[i, j] * problem.context_J[j]
            out.append({
                "context": context, "prescript": prescript, "p": float(p_IJ[i, j]),
                "weight": float(problem.weights_IJ[i, j]), "profile": float(raw_IJ[i, j]),
                "used": float(used_IJ[i, j]), "adds": dict(zip(problem.actions, adds_A.tolist(), strict=True)),
            })  # fmt: skip
    return out


def decide(problem: Problem, p_IJ: np.ndarray, rule: Rule, observed_IJ: np.ndarray | None = None) -> Numbers:
    """Returns a decision. JSON.

    Args:
      p_IJ: how probable it is that a prescript holds in a context.
      observed_IJ: of how many observations these are, if they are counted.

    Returns:
      "choice" (None: abstains), "why", "margin", "scores" and "weights" divided and as they are, "probabilities" of a
      draw, "pareto", "trace", "off by", "again", and "same to all": what who gives every prescript one probability
      chooses.
    """
    by = {name: scores(problem, p_IJ, normalise=n) for name, n in (("divided", True), ("as they are", False))}
    of_prescripts = {name: weights(problem, profile(problem, p_IJ, normalise=name == "divided")) for name in by}
    used_A = by["divided" if rule.normalise else "as they are"]
    choice, why = _choose(problem.actions, used_A, rule)
    ranked = np.argsort(-used_A, kind="stable")
    same_A = scores(problem, np.ones_like(p_IJ), normalise=rule.normalise)
    same, _ = _choose(problem.actions, same_A, rule._replace(temperature=0.0, margin=0.0))
    return {
        "choice": choice,
        "why": why,
        "best": problem.actions[int(ranked[0])],
        "second": problem.actions[int(ranked[1])],
        "margin": float(used_A[ranked[0]] - used_A[ranked[1]]),
        "scores": {name: _named(problem.actions, s_A) for name, s_A in by.items()},
        "weights": {name: _named(problem.prescripts, w_I) for name, w_I in of_prescripts.items()},
        "probabilities": _named(problem.actions, softmax(used_A, rule.temperature)),
        "pareto": [problem.actions[i] for i in pareto(problem.utilities_AI)],
        "off by": off_by(problem, by["as they are"]),
        "best as they are": problem.actions[int(by["as they are"].argmax())],
        "again": None if observed_IJ is None else _again(problem, p_IJ, observed_IJ, rule),
        "same to all": same,
        "trace": _trace(problem, p_IJ, rule),
    }


def _named(names: Sequence[str], values: np.ndarray) -> Mapping[str, float]:
    return dict(zip(names, values.tolist(), strict=True))
