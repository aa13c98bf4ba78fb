"""What a tally is made of: the answers of one respondent, and numbers that can be computed on resampled rows."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from moral_jax.analysis.rules import Rule
from moral_jax.runs.answers import condition_name
from moral_jax.runs.records import Record, entropy


class Statistic(NamedTuple):
    """A number that can be computed on resampled units."""

    of: Callable[[np.ndarray], np.ndarray]  # weights of the units [R, E] -> [R]; nan where nothing is counted
    units: int  # how many units it rests on; with few there is no interval

    def __call__(self, w_RE: np.ndarray) -> np.ndarray:
        """Returns the number on each resample, [R]."""
        return self.of(w_RE)


class Setting(NamedTuple):
    """A setting of a tally, which [settings] of task.toml may hold."""

    expected: str
    is_right: Callable[[Any], bool]


Key = tuple[str, str, str]  # table, row, column


class Measure(NamedTuple):
    """A number of a tally, and the cell of the table that it stands in."""

    table: str
    row: str
    column: str
    of: Statistic
    better: str = ""  # "higher" or "lower" where one is better; empty where a number is neither
    is_yardstick: bool = False  # the same whoever answers
    limits: tuple[float, float] | None = None  # a 95 % interval by formula, in place of that of resampled units


@dataclasses.dataclass(frozen=True)
class Answered:
    """The answers of one respondent."""

    records: list[Record]
    units: dict[str, int]  # what is resampled (rows, as a rule) -> place in E
    unit_of: Callable[[Record], str]
    settings: Mapping[str, Any]

    @functools.cached_property
    def unit_N(self) -> np.ndarray:
        """The place in E of each record's unit."""
        return np.array([self.units[self.unit_of(record)] for record in self.records], int)

    def summed(self, values_N: np.ndarray) -> np.ndarray:
        """Returns the sum of values over the records of each unit, [E]."""
        return np.bincount(self.unit_N, weights=values_N, minlength=len(self.units))

    def mean(self, values: Iterable[float | None]) -> Statistic:
        """Returns the mean of a value of each record, without those that are None."""
        known = list(values)
        is_known_N = np.array([v is not None for v in known], float)
        values_N = np.array([0.0 if v is None else v for v in known])
        return ratio(self.summed(values_N), self.summed(is_known_N))

    def by_condition(self) -> Iterator[tuple[str, "Answered"]]:
        """Yields the answers under each condition, in the order in which these were asked."""
        names = [condition_name(record["condition"]) for record in self.records]
        for name in dict.fromkeys(names):
            yield name, self.where([n == name for n in names])

    def where(self, keep: Sequence[bool]) -> "Answered":
        """Returns the answers that are kept."""
        return dataclasses.replace(self, records=[r for r, k in zip(self.records, keep, strict=True) if k])

    def by_group(self) -> Iterator[tuple[str, str, "Answered"]]:
        """Yields (kind of group, group, its answers), kind by kind."""
        members: dict[str, dict[str, list[Record]]] = {}
        for record in self.records:
            for kind, name in record["groups"].items():
                members.setdefault(kind, {}).setdefault(name, []).append(record)
        for kind, named in members.items():
            for name, records in named.items():
                yield kind, name, dataclasses.replace(self, records=records)


def ratio(top_E: np.ndarray, bottom_E: np.ndarray, scale: float = 1.0) -> Statistic:
    """Returns the ratio of two sums over the rows, times `scale`."""

    def of(w_RE: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return scale * (w_RE @ top_E) / (w_RE @ bottom_E)

    return Statistic(of, int(np.count_nonzero(bottom_E)))


def minus(one: Statistic, other: Statistic) -> Statistic:
    """Returns the difference of two numbers."""
    return Statistic(lambda w_RE: one(w_RE) - other(w_RE), min(one.units, other.units))


def plus(numbers: Sequence[Statistic], scale: float = 1.0) -> Statistic:
    """Returns the sum of some numbers, times `scale`."""
    return Statistic(lambda w_RE: scale * np.sum([of(w_RE) for of in numbers], axis=0), min(of.units for of in numbers))


def answered_by(rule: Rule, record: Record) -> Record:
    """Returns a record as a rule would have answered it, in the same orders."""
    orders, places = [], range(len(record["options"]))
    for shown in record["orders"]:
        shares = dict(zip(shown["order"], rule(record, shown["order"]), strict=True))
        orders.append(shown | {"probabilities": [shares[i] for i in places]})
    p_C = np.mean([shown["probabilities"] for shown in orders], axis=0)
    return record | {"orders": orders, "probabilities": p_C.tolist(), "option_mass": None}


def put(tables: dict[str, Any], who: str, key: Key, better: str, cell: dict[str, Any]) -> None:
    """Writes a respondent's number into its cell of a table, which grows as needed.

    Args:
      better: "higher" or "lower", where one is better in the column.
    """
    name, row, column = key
    table = tables.setdefault(name, {"rows": [], "columns": [], "better": {}, "cells": {}})
    for names, one in ((table["rows"], row), (table["columns"], column)):
        if one not in names:
            names.append(one)
    table["better"][column] = better
    table["cells"].setdefault(who, {}).setdefault(row, {})[column] = cell


def choice(p: Sequence[float]) -> int | None:
    """Returns the option with the largest share; None where several tie."""
    best = max(p)
    tied = [i for i, share in enumerate(p) if share >= best - 1e-9]
    return tied[0] if len(tied) == 1 else None


def is_choice(p: Sequence[float], option: int) -> float:
    """Returns 1 for the option with the largest share, 1 / n where n tie, 0 for others."""
    tied = [i for i, share in enumerate(p) if share >= max(p) - 1e-9]
    return 1 / len(tied) if option in tied else 0.0


def people_shares(record: Record) -> np.ndarray:
    """Returns the shares of the votes on a record's options, [C]."""
    return np.array(record["counts"], float) / np.sum(record["counts"])


def js_divergence(p: Sequence[float] | np.ndarray, q: Sequence[float] | np.ndarray) -> float:
    """Returns the Jensen-Shannon divergence of two distributions in nats, between 0 and log 2."""
    p_C, q_C = np.asarray(p, float) / np.sum(p), np.asarray(q, float) / np.sum(q)
    return max(float(entropy((p_C + q_C) / 2) - (entropy(p_C) + entropy(q_C)) / 2), 0.0)
