"""Where people are divided and where the respondent is: arXiv 2503.00069; definitions are ours.

Of each row, H(people) is the entropy of its votes. With p_s what is said in each order under each condition,

    H(mean p) = mean H(p_s) + spread

and a respondent is sure where H(mean p) is below its median. H(people) is biased down by about (K - 1) / (2 N) nats
where N people voted: the correction is printed, not applied. Deferring leaves out the rows of which the respondent is
least sure: coverage against the divergence from people, and against agreement with their plurality.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from moral_jax.analysis.tallies.base import Answered, Measure, Statistic, is_choice, js_divergence, ratio
from moral_jax.runs.records import Record, entropy

CELLS, UNCERTAIN, DEFER = "People and respondent", "Uncertainty of the respondent", "Deferring the least sure"
COVERAGES = (1.0, 0.9, 0.75, 0.5, 0.25)


class Row(NamedTuple):
    """One row over all its orders and conditions."""

    unit: int
    p_C: np.ndarray
    total: float  # entropy of the mean
    within: float  # mean entropy
    people_C: np.ndarray
    votes: float

    @property
    def people(self) -> float:
        """The entropy of the votes."""
        return entropy(self.people_C)


def decomposed(p_SC: np.ndarray) -> tuple[float, float, float]:
    """Returns (entropy of the mean, mean entropy, their difference) of some distributions, in nats."""
    total, within = entropy(p_SC.mean(0)), float(np.mean([entropy(p_C) for p_C in p_SC]))
    return total, within, total - within


def rows_of(a: Answered) -> list[Row]:
    """Returns the rows with votes."""
    said: dict[str, list[list[float]]] = {}
    first: dict[str, tuple[int, Record]] = {}
    for record, unit in zip(a.records, a.unit_N, strict=True):
        if record["counts"] is not None:
            row = f"{record['row']} {len(record['options'])}"  # other wordings may have other options
            said.setdefault(row, []).extend(shown["probabilities"] for shown in record["orders"])
            first.setdefault(row, (int(unit), record))
    out = []
    for row, shares in said.items():
        unit, record = first[row]
        counts_C = np.array(record["counts"], float)
        total, within, _ = decomposed(np.array(shares))
        out.append(Row(unit, np.mean(shares, axis=0), total, within, counts_C / counts_C.sum(), counts_C.sum()))
    return out


def cells(people_E: Sequence[float], respondent_E: Sequence[float]) -> list[str]:
    """Returns the cell of each row, divided by the medians: agree or divided, sure or unsure."""
    divided = np.array(people_E) > np.median(people_E)
    unsure = np.array(respondent_E) > np.median(respondent_E)
    return [f"{'divided' if d else 'agree'}/{'unsure' if u else 'sure'}" for d, u in zip(divided, unsure, strict=True)]


def measures(a: Answered) -> Iterator[Measure]:
    """Yields the four cells, the parts of the uncertainty, and what deferring brings."""
    rows = rows_of(a)
    if not rows:
        return
    units = np.array([row.unit for row in rows], int)

    def mean(values: Sequence[float]) -> Statistic:
        sums = np.bincount(units, weights=values, minlength=len(a.units))
        return ratio(sums, np.bincount(units, minlength=len(a.units)).astype(float))

    of_row = cells([row.people for row in rows], [row.total for row in rows])
    for cell in ("agree/sure", "agree/unsure", "divided/sure", "divided/unsure"):
        yield Measure(CELLS, cell, "share of rows", mean([float(c == cell) for c in of_row]))
    bias = [(len(row.p_C) - 1) / (2 * row.votes) for row in rows]
    for name, values in (
        ("entropy of the mean", [row.total for row in rows]),
        ("mean entropy of orders and conditions", [row.within for row in rows]),
        ("spread between them", [row.total - row.within for row in rows]),
    ):
        yield Measure(UNCERTAIN, name, "nats", mean(values))
    yield Measure(UNCERTAIN, "entropy of the votes", "nats", mean([row.people for row in rows]), is_yardstick=True)
    yield Measure(UNCERTAIN, "about so much too low, for few votes", "nats", mean(bias), is_yardstick=True)
    yield from _deferring(rows, units, len(a.units))


def _agrees(row: Row) -> float:
    """Returns the share of the options that the respondent likes best which are people's plurality too."""
    own, people = row.p_C.tolist(), row.people_C.tolist()
    return sum(is_choice(own, i) * (is_choice(people, i) > 0) for i in range(len(own)))


def _deferring(rows: list[Row], units: np.ndarray, count: int) -> Iterator[Measure]:
    sure = np.argsort([-row.p_C.max() for row in rows], kind="stable")
    far = np.array([js_divergence(row.p_C, row.people_C) for row in rows])
    agree = np.array([_agrees(row) for row in rows])
    for coverage in COVERAGES:
        kept = sure[: max(1, round(coverage * len(rows)))]
        weights = np.bincount(units[kept], minlength=count).astype(float)
        for column, values, better in (
            ("JSD to people, nats", far, "lower"),
            ("agrees with the plurality", agree, "higher"),
        ):
            sums = np.bincount(units[kept], weights=values[kept], minlength=count)
            yield Measure(DEFER, f"{coverage:.0%} of rows kept", column, ratio(sums, weights), better)
