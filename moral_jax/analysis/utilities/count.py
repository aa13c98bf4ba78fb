"""Counts an elicitation: tables of all respondents in the form of a tally, so that the same page shows them, and
sentences."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from moral_jax.analysis.tallies.base import put
from moral_jax.analysis.utilities import extras, measure, more
from moral_jax.analysis.utilities.measure import (
    ACCURACY,
    BIAS,
    CHOICES,
    CONFIDENCE,
    CYCLES,
    REFITS,
    SHARED,
    TIES,
    UTILITIES,
    UTILITY,
    VALUE,
    Cells,
    Fitted,
)  # fmt: skip
from moral_jax.analysis.utilities.subject import Assembly, Subject
from moral_jax.runs.answers import condition_name

TALLY = "utilities"
NOT_COHERENT = "preferences are not coherent"
HIGHER, LOWER = "higher", "lower"
BETTER = {(more.FLOOR, more.ABOVE): HIGHER}
Table = Mapping[str, Any]


def _cells(subject: Subject, own: Fitted, nulls: Mapping[str, Fitted], resamples: int) -> Cells:
    """Yields all numbers that need no other respondent."""
    drawn = own.resampled(min(REFITS, resamples), subject.seed)
    yield from measure.choices(own, nulls, resamples)
    yield from measure.utilities(subject, own, drawn)
    yield from more.rates(subject, own, drawn)
    yield from more.lotteries(subject, own, drawn)
    yield from more.states(subject, own)
    yield from more.floors(subject, own, resamples)
    yield from more.conditions(subject, own, resamples)
    yield from extras.discounting(subject.discounting)
    yield from extras.maximisation(subject.choices, subject.seed)


def _said(cell: Mapping[str, Any]) -> str:
    return f"{cell['value']:.3f}" + (f" [{cell['low']:.3f}, {cell['high']:.3f}]" if "low" in cell else "")


def _coherence(cells: Table) -> Iterator[str]:
    """Says whether held-out answers can be foretold, and by whom else."""
    ties, bias = cells[TIES][VALUE]["value"], cells[BIAS][VALUE]["value"]
    found = cells.get(ACCURACY, {}).get(VALUE)
    if found is None:
        yield (
            f"The {NOT_COHERENT}: {ties:.0%} of all pairs tie once both orders are averaged, and no held-out pair is "
            f"left to be foretold; the order bias is {bias:.3f}."
        )
        return
    if "low" not in found:
        yield f"Utilities foretell {_said(found)} of the held-out answers, which are too few to say more."
    elif found["low"] <= 0.5:
        yield (
            f"The {NOT_COHERENT}: utilities foretell {_said(found)} of the held-out answers, which cannot be told from "
            f"one half."
        )
    else:
        yield f"Utilities foretell {_said(found)} of the held-out answers, ties left out ({ties:.1%} of all pairs)."
        if "null" in found:
            yield _beside(found, cells.get(SHARED, {}).get(VALUE, {}).get("nulls", {}))
    sure = _said(cells[CONFIDENCE][VALUE])
    yield f"The order in which a pair is shown moves a share by {bias:.3f}; the preferred outcome has {sure}."


def _beside(found: Mapping[str, Any], shared: Mapping[str, float]) -> str:
    """Says how an accuracy stands to the best one of null respondents."""
    name, null = found["null"], found["nulls"][found["null"]]
    how = "better than" if found["told_apart"] and found["above"]["value"] > 0 else "not shown to be better than"
    also = f", and with which it shares {shared[name]:.0%} of its preferences" if name in shared else ""
    return f"That is {how} the {null:.3f} of {name}, which does not read what outcomes mean{also}."


def _floor(cells: Table) -> Iterator[str]:
    """Says whether numbers alone, or words alone, explain the choices between outcomes with numbers."""
    arms = {name: cells[name] for name in more.FLOORS.values() if name in cells}
    if not arms:
        return
    parts = [f"{of[more.FOLD_ACCURACY]['value']:.3f} with {name.replace(', ', ' and ')}" for name, of in arms.items()]
    explains = []
    for name, of in arms.items():
        above = of[more.ABOVE]
        if of[more.FOLD_ACCURACY]["value"] > 0.5 and not (above["told_apart"] and above["value"] > 0):
            explains.append("numbers" if name == more.FLOORS["invented"] else "words")
    end = f": the {' or the '.join(explains)} alone explain them" if explains else ""
    own = cells[more.AS_WRITTEN][more.FOLD_ACCURACY]["value"]
    yield f"Of choices between outcomes with numbers, {own:.3f} are foretold as written, {', '.join(parts)}{end}."


def _sentences(tables: Mapping[str, Any], who: str) -> Iterator[str]:
    """Says what the numbers of a respondent hold."""
    cells = {name: table["cells"].get(who, {}) for name, table in tables.items()}
    yield from _coherence(cells[CHOICES])
    for row, cell in cells[CHOICES].items():
        if row.startswith(CYCLES):
            yield f"Three choices make a cycle with a probability of {cell[VALUE]['value']:.3f} (0.25 by chance)."
    yield from _floor(cells.get(more.FLOOR, {}))
    if UTILITIES in cells:
        ranked = sorted(cells[UTILITIES], key=lambda row: -cells[UTILITIES][row][UTILITY]["value"])
        if cells[UTILITIES][ranked[0]][UTILITY]["value"] > 0:
            yield f"Highest: {ranked[0]!r}; lowest: {ranked[-1]!r}."
    for row, of_row in cells.get(extras.CONTROL, {}).items():
        cell = of_row[VALUE]
        change = f"; {_said(cell['change'])} more than the first respondent" if "change" in cell else ""
        yield f"{extras.CONTROL}: {row}: {_said(cell)}{change}."


def count(subjects: Sequence[Subject], assembly: Assembly | None, resamples: int) -> dict[str, Any]:
    """Returns the numbers of an elicitation, as `analysis.tallies.count.count` does those of a tally. JSON.

    Args:
      subjects: respondents with their answers.
      assembly: the shares of people, if there are any.
      resamples: of the bootstrap; utilities are fitted again to at most 100 of them.
    """
    tables: dict[str, Any] = {}
    sentences: list[str] = []
    mu: dict[str, np.ndarray] = {}
    for subject in subjects:
        own, nulls = measure.of_subject(subject), measure.of_nulls(subject)
        mu[subject.who] = own.utilities.mu_N
        cells = _cells(subject, own, nulls, resamples)
        if assembly:
            first = subjects[0] if subject is not subjects[0] else None
            of_assembly = extras.control(subject, assembly, first, resamples), extras.groups_split(assembly)
            cells = itertools.chain(cells, *of_assembly)
        for key, cell in cells:
            put(tables, subject.who, key, BETTER.get((key[0], key[2]), ""), cell)
        said = list(_sentences(tables, subject.who))
        sentences += [f"{subject.who}: {sentence}" if len(subjects) > 1 else sentence for sentence in said]
    for key, cell in extras.convergence(mu):
        put(tables, subjects[0].who, key, "", cell)
    first_tables = (CHOICES, extras.CONTROL, more.FLOOR)
    records = [r for s in subjects for r in (*s.fitted, *s.held, *s.discounting, *s.choices, *s.of_assembly)]
    records += [r for s in subjects for of in (*s.floors.values(), *s.conditions.values()) for r in of]
    return {
        "tally": TALLY,
        "description": "what somebody values, from pairs of outcomes",
        "respondents": [s.who for s in subjects],
        "nulls": list(measure.NULLS),
        "rows": len({r["row"] for r in records}),
        "outcomes": len(subjects[0].outcomes),
        "units": len(subjects[0].outcomes),
        "pairs": {s.who: {"fitted": len(s.fitted), "held out": len(s.held)} for s in subjects},
        "records": len(records),
        "conditions": list(dict.fromkeys(condition_name(r["condition"]) for r in records)),
        "tables": dict(sorted(tables.items(), key=lambda item: item[0] not in first_tables)),
        "findings": sentences,
        "surprising": [],
    }
