"""What null respondents, which read nothing, say to the records of somebody else."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from moral_jax.analysis import rules
from moral_jax.analysis.rules import Rule
from moral_jax.analysis.tallies.base import Answered, answered_by
from moral_jax.runs.answers import condition_name
from moral_jax.runs.records import Record

NULLS = ("uniform", "first", "last", "constant")  # beside these, the rule by the surface of the options, and
OWN_MEAN = "own mean"  # the respondent's own shares of the first, second ... option of the data, whatever is asked


def said_by(crosses: bool, answered: Answered, name: str) -> Answered:
    """Returns what a null respondent says to the same records, by its rule.

    Args:
      crosses: the own mean is one over all conditions.
    """
    rule = own_mean(answered.records, crosses=crosses) if name == OWN_MEAN else rules.get(name).rule
    answer = functools.partial(answered_by, rule)
    return dataclasses.replace(answered, records=list(map(answer, answered.records)))


def replied_by(records: Sequence[Record], answered: Answered, name: str) -> Answered:
    """Returns what a null respondent has replied itself, as replies must be judged."""
    return dataclasses.replace(answered, records=[r for r in records if r["respondent"] == name])


def own_mean(records: Sequence[Record], *, crosses: bool) -> Rule:
    """Returns the rule that says to every question what these records say on average: a share for the first option of
    the data, for the second, and so on.

    Args:
      crosses: over all conditions; else under the question's own.
    """

    def kind(record: Record) -> tuple[str, int]:
        return "" if crosses else condition_name(record["condition"]), len(record["options"])

    said: dict[tuple[str, int], list[list[float]]] = {}
    for r in records:
        said.setdefault(kind(r), []).append(r["probabilities"])
    means = {key: np.mean(shares, axis=0) for key, shares in said.items()}

    def answer(question: Record, order: Sequence[int]) -> list[float]:
        mean_C = means[kind(question)]
        return [float(mean_C[i]) for i in order]

    return answer
