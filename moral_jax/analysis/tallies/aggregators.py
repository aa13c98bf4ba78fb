"""What groups decide together: the score of every option by each way of `analysis.aggregate`, question by question."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import aggregate
from moral_jax.types import UserError

NAME, DEFAULT = "aggregators", "mean"
DESCRIPTION = "what groups decide together by seven ways of counting, and where the ways differ"


class Votes(NamedTuple):
    """The votes of several groups on one question."""

    question: str
    options: Sequence[str]
    groups: Sequence[str]
    values_GC: np.ndarray  # votes, or utilities
    people_G: np.ndarray | None = None  # how many people a group has, where values are utilities


class Ballot(NamedTuple):
    """The votes of one group on one question."""

    question: str
    options: tuple[str, ...]
    group: str
    values: Sequence[float]
    where: str  # file and line, or row


def grouped(ballots: Iterable[Ballot], people: dict[str, float] | None = None) -> list[Votes]:
    """Returns the questions of ballots: those with the same words and options are one.

    Args:
      people: how many people each group has; values are utilities then, else votes.

    Raises:
      UserError: a group votes twice on a question, or is not among `people`.
    """
    found: dict[tuple[str, tuple[str, ...]], dict[str, Ballot]] = {}
    for ballot in ballots:
        of = found.setdefault((ballot.question, ballot.options), {})
        if ballot.group in of:
            raise UserError(
                f"{ballot.where}: group {ballot.group!r} has votes on {ballot.question!r} in {of[ballot.group].where} "
                f"already; give each group one row"
            )
        if people is not None and ballot.group not in people:
            raise UserError(f"settings.people: has no group {ballot.group!r} ({ballot.where}); give its people")
        of[ballot.group] = ballot
    out = []
    for (question, options), of in found.items():
        of_people = None if people is None else np.array([people[group] for group in of], float)
        out.append(Votes(question, options, list(of), np.array([b.values for b in of.values()], float), of_people))
    return out


def _by_way(values_GC: np.ndarray, weights_G: np.ndarray) -> dict[str, np.ndarray]:
    return {name: way(values_GC, weights_G) for name, way in aggregate.WAYS.items()}


def scores_of(votes: Votes) -> dict[str, np.ndarray]:
    """Returns the score of every option by each way: of the shares of each group's votes, or of utilities."""
    if votes.people_G is not None:
        return _by_way(votes.values_GC, votes.people_G)
    weights_G = votes.values_GC.sum(1)
    return _by_way(votes.values_GC / weights_G[:, None], weights_G)


def _stays(votes: Votes, won: dict[str, list[int]], resamples: int) -> dict[str, float]:
    """Returns how often each way has the same winners where as many votes are drawn again from each group's shares."""
    totals_G = votes.values_GC.sum(1)
    if votes.people_G is not None or (totals_G != totals_G.round()).any():
        return {}
    rng, same = np.random.default_rng(0), dict.fromkeys(won, 0)
    drawn_RGC = rng.multinomial(
        totals_G.astype(int), votes.values_GC / totals_G[:, None], size=(resamples, len(totals_G))
    )
    for drawn_GC in drawn_RGC:
        for name, scores_C in scores_of(votes._replace(values_GC=drawn_GC.astype(float))).items():
            same[name] += aggregate.winners(scores_C) == won[name]
    return {name: n / resamples for name, n in same.items()}


def _table(votes: Votes, scores: dict[str, np.ndarray]) -> dict[str, Any]:
    cells = {o: {n: {"value": float(s_C[i])} for n, s_C in scores.items()} for i, o in enumerate(votes.options)}
    return {
        "rows": list(votes.options), "columns": list(scores), "better": dict.fromkeys(scores, ""),
        "cells": {"groups": cells},
    }  # fmt: skip


def _name(votes: Votes, questions: Sequence[Votes]) -> str:
    """Returns the question, with its options where it is asked with others too."""
    is_alone = [v.question for v in questions].count(votes.question) == 1
    return votes.question if is_alone else f"{votes.question} ({', '.join(votes.options)})"


def count(questions: Sequence[Votes], way: str = DEFAULT, resamples: int = 1000) -> dict[str, Any]:
    """Returns scores and winners. JSON.

    Args:
      way: the name of the way whose winner the page begins with.
      resamples: of the votes of each group.

    Returns:
      as `count.count`, and "winners": question -> way -> "options", and "stays", the share of resamples in which they
      win too.

    Raises:
      UserError: there is no such way, or no question has votes of two groups.
    """
    if way not in aggregate.WAYS:
        raise UserError(f"--aggregate={way}: no such way; there are {', '.join(aggregate.WAYS)}")
    questions = [votes for votes in questions if len(votes.groups) > 1]
    if not questions:
        raise UserError(f"{NAME}: no question has votes of two groups; expected rows with counts, a group each")
    findings, tables, winners, differ = [], {}, {}, 0
    for votes in questions:
        scores, name = scores_of(votes), _name(votes, questions)
        tables[name] = _table(votes, scores)
        places = {of: aggregate.winners(s_C) for of, s_C in scores.items()}
        stays = _stays(votes, places, resamples)
        won = {of: [votes.options[i] for i in place] for of, place in places.items()}
        winners[name] = {of: {"options": w, "stays": stays.get(of)} for of, w in won.items()}
        others = {of: w for of, w in won.items() if w != won[way]}
        differ += bool(others)
        besides = "; ".join(f"{of} {' and '.join(w)}" for of, w in others.items())
        findings.append(f"{name}: by {way} {' and '.join(won[way])}" + (f"; by others {besides}." if others else "."))
    groups = list(dict.fromkeys(group for votes in questions for group in votes.groups))
    return {
        "tally": NAME,
        "description": DESCRIPTION,
        "respondents": ["groups"],
        "way": way,
        "groups": groups,
        "rows": sum(len(v.groups) for v in questions),
        "units": len(questions),
        "tables": tables,
        "winners": winners,
        "findings": [*findings, f"In {differ} of {len(questions)} questions the way changes the decision."],
    }
