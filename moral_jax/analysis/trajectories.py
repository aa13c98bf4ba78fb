"""Numbers of a simulation: every challenge for every algorithm, as distance above `static`, beside yardsticks.

Rows are resampled, the same ones for people and examinees, so that differences are paired.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import progress, rules
from moral_jax.analysis.bootstrap import Draws, Estimate, interval, resamples
from moral_jax.analysis.progress import CHALLENGES, STATIC, VECTORS, Challenge
from moral_jax.analysis.tallies import vector
from moral_jax.analysis.tallies.base import answered_by
from moral_jax.analysis.tallies.count import NULLS
from moral_jax.analysis.tallies.vector import CENTRED
from moral_jax.runs.records import Record

ALL, TAUGHT, HELD_OUT = "all rows", "rows that were taught", "rows that nobody was taught"
AS_THEY_ARE, KEPT, UNTAUGHT = "people as they are", "the first century, kept", "the examinee, untaught"
Answers = Sequence[Record]
Vectors = Mapping[str, np.ndarray]  # centred and published -> [R, V]


class Walked(NamedTuple):
    """What was said along the way."""

    people: Sequence[Answers]  # each century
    start: Answers  # the examinee before anybody taught it
    alone: Mapping[str, Sequence[Answers]]  # algorithm -> the examinee at each step
    together: Mapping[str, Sequence[Answers]]  # algorithm -> the proxy of people at each step
    influencers: Mapping[str, Sequence[Answers]]  # algorithm -> the examinee whom that proxy hears


class Measured:
    """Vectors of answers on resampled rows."""

    def __init__(self, rows: Sequence[str], counted: frozenset[str], count: int, seed: int):
        """Draws the weights of rows.

        Args:
          counted: the rows that count; others weigh nothing.
          count: resamples.
        """
        self.units = {row: i for i, row in enumerate(rows)}
        self.counted = len(counted)
        is_counted_E = np.array([row in counted for row in rows], float)
        drawn_RE = np.zeros((count, len(rows)))
        drawn_RE[:, is_counted_E > 0] = resamples(len(counted), count, seed)
        self.w_RE = np.concatenate([is_counted_E[None], drawn_RE])
        self.known: dict[int, Vectors] = {}

    def of(self, records: Answers) -> Vectors:
        """Returns the vectors of some answers, [R, V]; the first is that of the rows as they are."""
        if id(records) not in self.known:
            self.known[id(records)] = progress.vectors(records, self.units, self.w_RE)
        return self.known[id(records)]

    def path(self, states: Sequence[Answers], column: str) -> list[np.ndarray]:
        """Returns a vector for every step."""
        return [self.of(records)[column] for records in states]

    def estimate(self, drawn_R: np.ndarray) -> Estimate:
        """Returns a number with its 95 % interval."""
        return interval(Draws(float(drawn_R[0]), drawn_R[1:], np.zeros(self.counted)))


def nulls(people: Answers, surface: str) -> dict[str, Answers]:
    """Returns what null respondents say to the same rows."""
    names = dict.fromkeys((*NULLS, surface))
    return {name: [answered_by(rules.get(name).rule, record) for record in people] for name in names}


def _scored(
    measured: Measured, challenge: Challenge, people: Sequence[Answers], states: Mapping[str, Sequence[Answers]],
    ahead: int,
) -> dict[str, dict[str, np.ndarray]]:  # fmt: skip
    """Returns name -> centred and published score, on each resample."""
    of_people = {column: measured.path(people, column) for column in VECTORS}
    return {
        name: {c: challenge.score(measured.path(of, c), of_people[c], ahead) for c in VECTORS}
        for name, of in states.items()
    }


def _by_step(
    measured: Measured, people: Sequence[Answers], states: Sequence[Answers], ahead: int
) -> list[dict[str, float]]:
    """Returns the centred cosine of every step with people of that time, or some steps ahead."""
    of_people, of_states = (measured.path(one, CENTRED) for one in (people, states))
    last = min(len(of_states), len(of_people) - ahead)
    return [measured.estimate(vector.cosine(of_states[t], of_people[t + ahead])) for t in range(last)]


def _table(measured: Measured, name: str, walked: Walked, beside: Mapping[str, Answers], ahead: int) -> dict[str, Any]:
    """Returns a challenge's numbers: each algorithm and each yardstick, and differences between algorithms."""
    challenge = CHALLENGES[name]
    own = walked.together if challenge.coevolves else walked.alone
    steps = len(own[STATIC])
    still = {null: [said] * steps for null, said in beside.items()}
    yardsticks = {AS_THEY_ARE: walked.people[:steps], KEPT: [walked.people[0]] * steps}
    if not challenge.coevolves:
        yardsticks |= {UNTAUGHT: [walked.start] * steps} | still
    drawn = _scored(measured, challenge, walked.people, {**own, **yardsticks}, ahead)
    cells = {who: {column: measured.estimate(x_R) for column, x_R in of.items()} for who, of in drawn.items()}
    for who in own:
        if who != STATIC:
            cells[who]["above"] = measured.estimate(drawn[who][CENTRED] - drawn[STATIC][CENTRED])
    order = list(own)
    pairs = {
        f"{b} - {a}": measured.estimate(drawn[b][CENTRED] - drawn[a][CENTRED])
        for i, a in enumerate(order) for b in order[i + 1 :] if a != STATIC
    }  # fmt: skip
    distance = ahead if name == "predict" else 0
    by_step = {who: _by_step(measured, walked.people, of, distance) for who, of in own.items()}
    return {"algorithms": order, "yardsticks": list(yardsticks), "cells": cells, "pairs": pairs, "by step": by_step}


def count(
    walked: Walked, challenges: Sequence[str], ahead: int, taught: frozenset[str], surface: str, resamples: int,
    seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Returns the numbers of a simulation. JSON.

    Args:
      challenges: names of `CHALLENGES`.
      ahead: how many steps ahead is predicted.
      taught: the rows that were taught.
      surface: the null respondent that answers by the surface of options.
      resamples: of the bootstrap.
    """
    rows = list(dict.fromkeys(record["row"] for record in walked.people[0]))
    held_out = frozenset(rows) - taught
    kinds = {TAUGHT: taught, HELD_OUT: held_out} if held_out else {ALL: taught}
    beside = nulls(walked.people[0], surface)
    tables = {}
    for kind, counted in kinds.items():
        measured = Measured(rows, counted, resamples, seed)
        tables[kind] = {name: _table(measured, name, walked, beside, ahead) for name in challenges}
    whole = Measured(rows, taught, 0, seed)
    points = functools.partial(_points, Measured(rows, frozenset(rows), 0, seed))
    begins = (walked.alone or walked.influencers)[STATIC][0]
    return {
        "first lesson": float(vector.cosine(whole.of(begins)[CENTRED], whole.of(walked.people[0])[CENTRED])[0]),
        "entries": progress.entries(walked.people[0]),
        "rows": {kind: len(counted) for kind, counted in kinds.items()},
        "challenges": tables,
        "trajectories": {
            "people": points(walked.people),
            "alone": {who: points(of) for who, of in walked.alone.items()},
            "together": {who: points(of) for who, of in walked.together.items()},
            "influencers": {who: points(of) for who, of in walked.influencers.items()},
        },
    }


def _points(measured: Measured, states: Sequence[Answers]) -> dict[str, list[list[float]]]:
    """Returns the vectors themselves, step by step, without resampling."""
    return {column: [x_RV[0].tolist() for x_RV in measured.path(states, column)] for column in VECTORS}
