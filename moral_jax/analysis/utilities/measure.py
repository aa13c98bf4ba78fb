"""The numbers of one respondent: utilities, how well they foretell held-out answers, ties, order bias, cycles; beside
null respondents whose own utilities are fitted to the same pairs."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import entr
from scipy.stats import spearmanr

from moral_jax.analysis import rules
from moral_jax.analysis.bootstrap import Draws, Estimate, interval
from moral_jax.analysis.tallies.base import Key
from moral_jax.analysis.tallies.findings import is_beyond
from moral_jax.analysis.utilities import bradley_terry, coherence, thurstone
from moral_jax.analysis.utilities.answers import Answers, accuracy, by_rule, is_undecided, preferred_alike, resampling
from moral_jax.analysis.utilities.subject import Subject

NULLS = ("uniform", "first", "last", "longest", "number")
REFITS = 100  # fits to resampled pairs, for intervals of utilities
CHOICES, UTILITIES = "Choices", "Utilities"
ACCURACY, LOG_LOSS, LEAST_LOSS = (
    "held-out accuracy, ties left out",
    "held-out log-loss",
    "entropy of the held-out answers",
)
TIES, CONFIDENCE, BIAS = "ties", "average confidence", "order bias"
CYCLES, UNDECIDED, AGREES = "cycles", "undecided pairs", "Spearman with Bradley-Terry"
SHARED = "most preferences shared with a null respondent"
OF_ANSWERS: dict[str, Callable[[Answers], np.ndarray]] = {  # numbers of each pair, [E]
    TIES: lambda a: a.is_tie_E.astype(float),
    CONFIDENCE: lambda a: a.confidence_E,
    BIAS: lambda a: a.bias_E,
    UNDECIDED: lambda a: is_undecided(a).astype(float),
}
VALUE, UTILITY, VARIANCE, LOGITS = "value", "utility", "variance", "Bradley-Terry"
Cells = Iterator[tuple[Key, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Utilities and the answers that they were fitted to, and not."""

    answers: Answers
    held: Answers
    utilities: thurstone.Utilities

    @functools.cached_property
    def all(self) -> Answers:
        """Answers to all pairs."""
        a, b = self.answers, self.held
        return a._replace(
            pairs_E2=np.concatenate([a.pairs_E2, b.pairs_E2]), shares_EO=np.concatenate([a.shares_EO, b.shares_EO])
        )

    def resampled(self, count: int, seed: int) -> thurstone.Utilities:
        """Returns utilities that are fitted to resampled pairs, [R, N]."""
        rng, pairs = np.random.default_rng((seed, 1)), len(self.answers.pairs_E2)
        w_RE = np.stack([np.bincount(rng.integers(pairs, size=pairs), minlength=pairs) for _ in range(count)])
        a, outcomes = self.answers, len(self.utilities.mu_N)
        return thurstone.fit_each(a.pairs_E2, a.p_E, outcomes, w_RE.astype(float), seed)


def fitted(answers: Answers, held: Answers, outcomes: int, seed: int) -> Fitted:
    """Fits utilities to answers."""
    return Fitted(answers, held, thurstone.fit(answers.pairs_E2, answers.p_E, outcomes, seed))


def of_subject(subject: Subject) -> Fitted:
    """Fits utilities to the answers of a respondent."""
    answers, held = subject.answers(subject.fitted), subject.answers(subject.held)
    return fitted(answers, held, len(subject.outcomes), subject.seed)


def of_nulls(subject: Subject) -> dict[str, Fitted]:
    """Returns the utilities of null respondents, fitted to what they say to the same pairs in the same orders."""
    out = {}
    for name in NULLS:
        asked = subject.fitted, subject.held
        said, held = (subject.answers(by_rule(rules.get(name).rule, name, records)) for records in asked)
        out[name] = fitted(said, held, len(subject.outcomes), subject.seed)
    return out


def cycles(a: Answers) -> np.ndarray:
    """Returns the probability of a cycle in triads whose three pairs were asked, [T]."""
    found = coherence.triads(a.pairs_E2)
    return coherence.cycle(*(a.p_E[found[:, k]] for k in range(3)))


def _accuracies(of: Mapping[str, Fitted], resamples: int) -> dict[str, Draws]:
    """Returns the held-out accuracy of each respondent that prefers anything, on the same resamples."""
    first = next(iter(of.values()))
    statistics: dict[str, np.ndarray | Callable[[np.ndarray], np.ndarray]] = {}
    for who, f in of.items():
        if not f.held.is_tie_E.all() and len(f.held.pairs_E2):
            statistics[who] = accuracy(f.utilities.p(f.held.pairs_E2), f.held).of
    return resampling(first.held.pairs_E2, resamples).draws(statistics) if statistics else {}


def _estimate(d: Draws, known: int) -> Estimate:
    """Returns value and interval of an accuracy; the value alone where fewer than five pairs are no ties."""
    drawn = d._replace(rows_R=d.rows_R[np.isfinite(d.rows_R)], influence_E=np.nan_to_num(d.influence_E))
    return interval(drawn, (0.0, 1.0)) if known >= 5 else {"value": d.value}


def accuracy_cell(own: Fitted, nulls: Mapping[str, Fitted], resamples: int) -> dict[str, Any] | None:
    """Returns the held-out accuracy beside that of null respondents, and the difference to the best of these; None
    where all held-out answers tie."""
    draws = _accuracies({"": own} | dict(nulls), resamples)
    if "" not in draws:
        return None
    known = int((~own.held.is_tie_E).sum())
    cell: dict[str, Any] = dict(_estimate(draws[""], known))
    values = {who: d.value for who, d in draws.items() if who}
    if values:
        best = max(values, key=lambda who: values[who])
        difference = draws[""] - draws[best]
        rows_R = difference.rows_R[np.isfinite(difference.rows_R)]
        difference = difference._replace(rows_R=rows_R, influence_E=np.nan_to_num(difference.influence_E))
        above = interval(difference, (-1.0, 1.0)) if known >= 5 else {"value": difference.value}
        cell |= {"nulls": values, "null": best, "above": above, "told_apart": is_beyond(above)}
    return cell


def _means(values: Mapping[str, np.ndarray], pairs_E2: np.ndarray, resamples: int) -> dict[str, Estimate]:
    """Returns the mean over pairs of some numbers, with intervals."""
    return {name: interval(d) for name, d in resampling(pairs_E2, resamples).draws(values).items()}


def _losses(f: Fitted) -> tuple[np.ndarray, np.ndarray]:
    """Returns the log-loss of held-out pairs, and the entropy of their answers, which no utilities go below."""
    p_E = f.held.p_E
    loss_E = thurstone.log_loss(f.utilities.z(f.held.pairs_E2), p_E)
    return loss_E, entr(p_E) + entr(1 - p_E)


def choices(own: Fitted, nulls: Mapping[str, Fitted], resamples: int) -> Cells:
    """Yields what pairs say: accuracy, losses, ties, confidence, order bias, cycles, undecided pairs."""

    def cell(estimate: Estimate, of: Sequence[tuple[str, float]]) -> dict[str, Any]:
        return dict(estimate) | {"nulls": dict(of)}

    a, held = own.all, own.held
    if (found := accuracy_cell(own, nulls, resamples)) is not None:
        yield (CHOICES, ACCURACY, VALUE), found
    if len(held.pairs_E2):
        losses = {who: dict(zip((LOG_LOSS, LEAST_LOSS), _losses(f), strict=True)) for who, f in nulls.items()}
        of_own = dict(zip((LOG_LOSS, LEAST_LOSS), _losses(own), strict=True))
        for row, estimate in _means(of_own, held.pairs_E2, resamples).items():
            yield (CHOICES, row, VALUE), cell(estimate, [(who, float(of[row].mean())) for who, of in losses.items()])
    for row, estimate in _means({row: of(a) for row, of in OF_ANSWERS.items()}, a.pairs_E2, resamples).items():
        yield (
            (CHOICES, row, VALUE),
            cell(estimate, [(who, float(OF_ANSWERS[row](f.all).mean())) for who, f in nulls.items()]),
        )
    if shared := {who: float(same.mean()) for who, f in nulls.items() if len(same := preferred_alike(a, f.all)[1])}:
        yield (CHOICES, SHARED, VALUE), cell({"value": max(shared.values())}, list(shared.items()))
    if len(found_T := cycles(a)):
        beside = [(who, float(cycles(f.all).mean())) for who, f in nulls.items()]
        yield (CHOICES, f"{CYCLES} in {len(found_T):,} triads", VALUE), cell({"value": float(found_T.mean())}, beside)


def utilities(subject: Subject, own: Fitted, drawn: thurstone.Utilities) -> Cells:
    """Yields the utility of each outcome with its interval, its variance, and what Bradley and Terry's model says.

    Args:
      drawn: utilities that are fitted to resampled pairs, [R, N].
    """
    mu_N, v_N = own.utilities
    low_N, high_N = np.percentile(drawn.mu_N, [2.5, 97.5], axis=0)
    other = bradley_terry.fit(own.answers.pairs_E2, own.answers.p_E, len(mu_N))
    if mu_N.std() > 0 and other.u_N.std() > 0:
        yield (CHOICES, AGREES, VALUE), {"value": float(spearmanr(mu_N, other.u_N)[0]), "nulls": {}}
    for i in np.argsort(-mu_N, kind="stable"):
        row = subject.outcomes.names[i]
        low, high = min(low_N[i], mu_N[i]), max(high_N[i], mu_N[i])
        yield (UTILITIES, row, UTILITY), {"value": float(mu_N[i]), "low": float(low), "high": float(high)}
        yield (UTILITIES, row, VARIANCE), {"value": float(v_N[i])}
        yield (UTILITIES, row, LOGITS), {"value": float(other.u_N[i])}
