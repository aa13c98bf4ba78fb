"""What groups decide together: the score of every option by each way of `analysis.aggregate`, question by question."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis import aggregate
from moral_jax.types import UserError

DEFAULT = "mean"


class Votes(NamedTuple):
    """The votes of several groups on one question."""

    question: str
    options: Sequence[str]
    counts_GC: np.ndarray


def scores_of(votes: Votes) -> dict[str, np.ndarray]:
    """Returns the score of every option by each way."""
    weights_G = votes.counts_GC.sum(1)
    return {name: way(votes.counts_GC / weights_G[:, None], weights_G) for name, way in aggregate.WAYS.items()}


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


def count(questions: Sequence[Votes], way: str = DEFAULT) -> dict[str, Any]:
    """Returns scores and winners in the form of `count.count`, so that one page shows both.

    Args:
      way: the name of the way whose winner the page begins with.

    Raises:
      UserError: there is no such way.
    """
    if way not in aggregate.WAYS:
        raise UserError(f"--aggregate={way}: no such way; there are {', '.join(aggregate.WAYS)}")
    findings, tables, differ = [], {}, 0
    for votes in questions:
        scores = scores_of(votes)
        tables[_name(votes, questions)] = _table(votes, scores)
        won = {name: [votes.options[i] for i in aggregate.winners(s_C)] for name, s_C in scores.items()}
        others = {name: w for name, w in won.items() if w != won[way]}
        differ += bool(others)
        besides = "; ".join(f"{name} {' and '.join(w)}" for name, w in others.items())
        findings.append(
            f"{votes.question}: by {way} {' and '.join(won[way])}" + (f"; by others {besides}." if others else ".")
        )
    return {
        "tally": "decisions",
        "description": "what groups decide together, by each way",
        "respondents": ["groups"],
        "nulls": [],
        "rows": sum(len(v.counts_GC) for v in questions),
        "units": len(questions),
        "records": sum(len(v.counts_GC) for v in questions),
        "conditions": [],
        "tables": tables,
        "findings": [*findings, f"In {differ} of {len(questions)} questions the way changes the decision."],
        "surprising": [],
    }
