"""Numbers of the questions beside the pairs: what waiting costs, whether open choices follow utilities, agreement with
people."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression, minimize_scalar

from moral_jax.analysis.bootstrap import Draws, interval
from moral_jax.analysis.tallies.base import is_choice
from moral_jax.analysis.utilities import thurstone
from moral_jax.analysis.utilities.answers import Answers, is_split, resampling
from moral_jax.analysis.utilities.measure import CHOICES, VALUE, Cells
from moral_jax.analysis.utilities.subject import Assembly, Subject
from moral_jax.runs.records import Record

DISCOUNTING, MAXIMISATION, CONTROL = "Discounting", "Maximisation", "Agreement with the assembly"
WORTH, TIMES = "worth now of one dollar", "times as much that balances waiting"
TOP = (1, 3, 5)
MOST_RATE = 10.0  # a month, of either curve
AGREEMENT, DISTANCE, DRIFT = "pairs with the same preference", "distance of shares", "drift on unrelated pairs"
GROUPS_SPLIT = "split pairs of the assembly's groups"


def _crossing(times_T: np.ndarray, later_T: np.ndarray) -> float | None:
    """Returns how many times as much is wanted for waiting: where the share of "later" rises through one half."""
    rising_T = isotonic_regression(later_T).x
    if not rising_T[0] < 0.5 <= rising_T[-1]:
        return None
    after = int(np.argmax(rising_T >= 0.5))
    x, y = np.log(times_T[after - 1 : after + 1]), rising_T[after - 1 : after + 1]
    return float(np.exp(x[0] + (0.5 - y[0]) / (y[1] - y[0]) * (x[1] - x[0])))


def discounting(records: Sequence[Record]) -> Cells:
    """Yields, by months of waiting, what one dollar then is worth now; and which curve fits: hyperbolic or
    exponential."""
    shares: dict[float, dict[float, float]] = {}
    for r in records:
        _, months, times = r["row"].split()
        shares.setdefault(float(months), {})[float(times)] = r["probabilities"][1]
    worth = {}
    for months, of in sorted(shares.items()):
        times_T = np.array(sorted(of))
        balance = _crossing(times_T, np.array([of[t] for t in times_T]))
        if balance is not None:
            worth[months] = 1 / balance
            yield (DISCOUNTING, f"{months:g} months", TIMES), {"value": balance}
            yield (DISCOUNTING, f"{months:g} months", WORTH), {"value": 1 / balance}
    waited_M = np.array([m for m in worth if m > 0])
    if len(waited_M) < 3:
        return
    log_M = np.log([worth[m] for m in waited_M])
    curves = {
        "hyperbolic 1 / (1 + k months)": lambda k: -np.log1p(k * waited_M),
        "exponential exp(-k months)": lambda k: -k * waited_M,
    }
    for name, of_k in curves.items():
        found = minimize_scalar(
            lambda k, of_k=of_k: float(np.square(log_M - of_k(k)).mean()), bounds=(0, MOST_RATE), method="bounded"
        )
        yield (DISCOUNTING, name, "k"), {"value": float(found.x)}
        yield (DISCOUNTING, name, "error (log)"), {"value": float(np.sqrt(found.fun))}


def _among(mu_K: np.ndarray, k: int) -> np.ndarray:
    """Returns how far each answer is among the k of highest utility; answers that tie share the places that are
    left."""
    better_K = (mu_K[None] > mu_K[:, None]).sum(1)
    same_K = (mu_K[None] == mu_K[:, None]).sum(1)
    return np.clip((k - better_K) / same_K, 0, 1)


def maximisation(records: Sequence[Record], seed: int) -> Cells:
    """Yields how often an open choice among all answers falls on those of highest utility, beside chance."""
    of: dict[str, dict[str, Record]] = {}
    for r in records:
        name, rest = r["row"].split(" | ", 1)
        of.setdefault(name, {})[rest] = r
    hits: dict[int, list[float]] = {k: [] for k in TOP}
    chance: dict[int, list[float]] = {k: [] for k in TOP}
    for said in of.values():
        p_K = said.pop("all")["probabilities"]
        pairs = np.array([list(map(int, pair.split(" | "))) for pair in said])
        p_E = np.array([r["probabilities"][0] for r in said.values()])
        mu_K = thurstone.fit(pairs, p_E, len(p_K), seed).mu_N
        chosen_K = np.array([is_choice(p_K, i) for i in range(len(p_K))])
        for k in TOP:
            if k < len(p_K):
                hits[k].append(float(chosen_K @ _among(mu_K, k)))
                chance[k].append(k / len(p_K))
    for k, found in hits.items():
        if found:
            row = f"chosen among the {k} of highest utility, {len(found)} questions"
            yield (MAXIMISATION, row, VALUE), {"value": float(np.mean(found))}
            yield (MAXIMISATION, row, "by chance"), {"value": float(np.mean(chance[k]))}


def convergence(of: Mapping[str, np.ndarray]) -> Cells:
    """Yields the cosine of the utilities of each two respondents."""
    for one, other in itertools.combinations(of, 2):
        a, b = of[one], of[other]
        if a.any() and b.any():
            cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            yield ("Cosine of utilities", f"{one} and {other}", VALUE), {"value": cosine}


def control(subject: Subject, assembly: Assembly, first: Subject | None, resamples: int) -> Cells:
    """Yields how far answers agree with an assembly, what changed since the first respondent, and how far unrelated
    pairs drifted.

    Args:
      first: the respondent that this one is compared with; None for itself.
    """
    a = subject.answers(subject.of_assembly)
    if not len(a.pairs_E2):
        return
    q_E = np.array([assembly.shares[tuple(pair)] for pair in a.pairs_E2.tolist()])
    draw = resampling(a.pairs_E2, resamples)
    known_E = (np.abs(q_E - 0.5) > 1e-9).astype(float)

    def numbers(of: Answers) -> dict[str, Draws]:
        same_E = np.where(of.is_tie_E, 0.5, (of.p_E > 0.5) == (q_E > 0.5)) * known_E

        def agreement(w_RE: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.nan_to_num((w_RE @ same_E) / (w_RE @ known_E), nan=0.5)

        return draw.draws({AGREEMENT: agreement, DISTANCE: np.abs(of.p_E - q_E)})

    own, before = numbers(a), numbers(first.answers(first.of_assembly)) if first else {}
    for name, d in own.items():
        cell: dict[str, Any] = dict(interval(d, (0.0, 1.0))) | {"nulls": {}}
        if name in before:
            cell["change"] = interval(d - before[name], (-1.0, 1.0))
        yield (CONTROL, f"{name}, {len(a.pairs_E2)} pairs", VALUE), cell
    if first and len(subject.unrelated):
        now, then = subject.answers(subject.unrelated), first.answers(first.unrelated)
        moved = resampling(now.pairs_E2, resamples).draws({"": np.abs(now.p_E - then.p_E)})[""]
        yield (CONTROL, f"{DRIFT}, {len(now.pairs_E2)} pairs", VALUE), dict(interval(moved, (0.0, 1.0))) | {"nulls": {}}


def groups_split(assembly: Assembly) -> Cells:
    """Yields the share of pairs on which two groups of the assembly stand on opposite sides."""
    pairs = sorted({pair for of in assembly.by_group.values() for pair in of})
    if len(assembly.by_group) < 2 or not pairs:
        return
    said = np.array([[of.get(pair, (np.nan, 0.0)) for pair in pairs] for of in assembly.by_group.values()])
    yield (CHOICES, GROUPS_SPLIT, VALUE), {"value": float(is_split(said[..., 0], said[..., 1]).mean()), "nulls": {}}
