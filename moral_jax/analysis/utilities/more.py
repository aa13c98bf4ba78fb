"""What follows from utilities: exchange rates, lotteries, states, the floor without words or numbers, other
conditions."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from moral_jax.analysis.bootstrap import Estimate, interval
from moral_jax.analysis.tallies.base import Statistic
from moral_jax.analysis.tallies.findings import is_beyond
from moral_jax.analysis.utilities import coherence, exchange, thurstone
from moral_jax.analysis.utilities.answers import USUAL_SAMPLES, Answers, accuracy, is_split, preferred_alike, resampling
from moral_jax.analysis.utilities.measure import CHOICES, VALUE, Cells, Fitted, of_subject
from moral_jax.analysis.utilities.subject import Subject

RATES, SLOPES, RATE = "Exchange rates", "Utility by amount: b + a ln N", "rate"
LOTTERIES, STATES = "Expected utility", "Instrumental value"
FLOOR, CONDITIONS = "Floor: outcomes with numbers", "Under other conditions"
AS_WRITTEN = "as written"
FLOORS = {"invented": "invented words, numbers kept", "no-numbers": "numbers removed"}
FOLDS, FOLD_ACCURACY, ABOVE = 5, "accuracy in five folds", "as written, minus this"
MOST_GOODS = 8  # that are shown against each other; of more, each against the first
CORRELATION, SAME_SIDE = "correlation of utilities", "same preference"
SPLIT = "split pairs"
CHANCE = 0.5  # accuracy of who prefers nothing


def _range(value: float, drawn_R: np.ndarray) -> dict[str, Any]:
    """Returns a value with the percentiles of its draws; the value alone where few are known."""
    known = drawn_R[np.isfinite(drawn_R)]
    if len(known) < len(drawn_R) / 2:
        return {"value": value}
    low, high = np.percentile(known, [2.5, 97.5])
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value)}


def rates(subject: Subject, own: Fitted, drawn: thurstone.Utilities) -> Cells:
    """Yields slope, height and error of each good's line, and the rates between goods, with intervals."""
    goods = subject.outcomes.goods
    one, many = (exchange.lines(mu, goods) for mu in (own.utilities.mu_N, drawn.mu_N))
    for good in goods:
        yield (SLOPES, good, "a"), _range(float(one[good].a), many[good].a)
        yield (SLOPES, good, "b"), _range(float(one[good].b), many[good].b)
        yield (SLOPES, good, "error"), {"value": float(one[good].error)}
    rising = [good for good in goods if one[good].a > 0]
    pairs = list(itertools.combinations(rising, 2))
    if len(rising) > MOST_GOODS:
        pairs = pairs[: len(rising) - 1]  # those with the first
    for i, j in pairs:
        grid = exchange.grid(goods[i], goods[j])
        value = float(exchange.rate(one[i], one[j], grid))
        if np.isfinite(value) and value > 0:
            cell = _range(value, exchange.rate(many[i], many[j], grid)) | {"scale": "log"}
            yield (RATES, f"{i} for one of {j}", RATE), cell


def lotteries(subject: Subject, own: Fitted, drawn: thurstone.Utilities) -> Cells:
    """Yields how near utilities of lotteries come to the expected utilities of their outcomes."""
    of = subject.outcomes.lotteries
    if len(of) < 3:
        return
    found = coherence.lottery_numbers(own.utilities.mu_N, of)
    many = [coherence.lottery_numbers(mu_N, of) for mu_N in drawn.mu_N]
    names = {"correlation": "correlation", "distance": "mean distance of z-scores", "order": "pairs in the same order"}
    for key, name in names.items():
        row = f"{len(of)} lotteries, {name}"
        yield (LOTTERIES, row, VALUE), _range(found[key], np.array([one[key] for one in many]))


def states(subject: Subject, own: Fitted) -> Cells:
    """Yields how far utilities of states are from what they lead to."""
    of = subject.outcomes.states
    if not any(of.values()):
        return
    found = coherence.instrumental(own.utilities.mu_N, of)
    row = f"mean distance of utility and value, {found['states']} states"
    yield (STATES, row, VALUE), {"value": found["distance"]}
    yield (STATES, row, "with utilities in random order"), {"value": found["shuffled"]}


def _folds(a: Answers, subject: Subject) -> np.ndarray:
    """Returns the share of the first outcome of each pair that utilities foretell which were fitted to the other four
    fifths."""
    fold_E = np.random.default_rng(subject.seed).permutation(len(a.pairs_E2)) % FOLDS
    rest_FE = fold_E != np.arange(FOLDS)[:, None]
    p_FE = thurstone.fit_each(a.pairs_E2, a.p_E, len(subject.outcomes), rest_FE.astype(float), subject.seed).p(
        a.pairs_E2
    )
    return p_FE[fold_E, np.arange(len(fold_E))]


def _chance(w_RE: np.ndarray) -> np.ndarray:
    return np.full(len(w_RE), CHANCE)


def _at(of: Statistic, places: np.ndarray) -> Statistic:
    """Returns a number of some of the pairs as one of all of them."""
    return Statistic(lambda w_RE: of(w_RE[:, places]), of.units)


def floors(subject: Subject, own: Fitted, resamples: int) -> Cells:
    """Yields the accuracy on outcomes with numbers as they are written, and with invented words or without numbers.

    The difference to each floor is paired: the same pairs, the same resamples. Who prefers nothing there has one half.
    """
    if not any(subject.floors.values()):
        return
    has = subject.outcomes.has_number_N
    plain = own.all.take(has[own.all.pairs_E2].all(1))
    place = {tuple(pair): k for k, pair in enumerate(plain.pairs_E2.tolist())}
    draw = resampling(plain.pairs_E2, resamples)
    statistics: dict[str, np.ndarray | Callable[[np.ndarray], np.ndarray]] = {}
    pairs = {AS_WRITTEN: plain} | {FLOORS[name]: subject.answers(of) for name, of in subject.floors.items() if of}
    for name, a in pairs.items():
        if a.is_tie_E.all():
            statistics[name] = _chance
            continue
        at = np.array([place[tuple(pair)] for pair in a.pairs_E2.tolist()])
        a, at = a.take(np.argsort(at)), np.sort(at)  # the same folds in all arms
        statistics[name] = _at(accuracy(_folds(a, subject), a), at).of
    draws = draw.draws(statistics)
    for name, a in pairs.items():
        cell: dict[str, Any] = dict(interval(draws[name], (0.0, 1.0)))
        above = interval(draws[AS_WRITTEN] - draws[name], (-1.0, 1.0))
        yield (FLOOR, name, FOLD_ACCURACY), cell
        yield (FLOOR, name, "ties"), {"value": float(a.is_tie_E.mean())}
        if name != AS_WRITTEN:
            yield (FLOOR, name, ABOVE), dict(above) | {"told_apart": is_beyond(above)}


def _same_side(a: Answers, b: Answers, resamples: int) -> Estimate:
    """Returns the share of pairs in which two answers prefer the same, ties of either left out."""
    pairs_E2, same_E = preferred_alike(a, b)
    return interval(resampling(pairs_E2, resamples).draws({"": same_E})[""], (0.0, 1.0)) if len(same_E) else {}


def conditions(subject: Subject, own: Fitted, resamples: int) -> Cells:
    """Yields what another condition changes on the same pairs: a persona, or another question, such as on power."""
    groups = [own.all.p_E]
    for name, records in subject.conditions.items():
        split = len(own.answers.pairs_E2)
        other = of_subject(dataclasses.replace(subject, fitted=records[:split], held=records[split:]))
        groups.append(other.all.p_E)
        mu, of_other = own.utilities.mu_N, other.utilities.mu_N
        if mu.std() > 0 and of_other.std() > 0:
            yield (CONDITIONS, name, CORRELATION), {"value": float(np.corrcoef(mu, of_other)[0, 1])}
        if same := _same_side(own.all, other.all, resamples):
            yield (CONDITIONS, name, SAME_SIDE), dict(same)
    if len(groups) > 1:
        p_GE = np.stack(groups)
        answers = own.all.shares_EO.shape[1] * (subject.samples or USUAL_SAMPLES)
        share = float(is_split(p_GE, np.full(p_GE.shape, answers)).mean())
        yield (CHOICES, SPLIT, VALUE), {"value": share, "nulls": {}}
