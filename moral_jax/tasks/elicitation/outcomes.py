"""Reads outcomes: states of the world that are compared in pairs.

OPTIONS.jsonl has an object a line: {"id", "text", "group"?}; a number of some good has {"good", "amount"} besides, a
lottery {"of": {id: percent}}, a state of a process {"next": [ids of the states that may follow]}. A JSON object group
-> list of texts is read too.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moral_jax.runtime import strict_json
from moral_jax.runtime.strict_json import is_number
from moral_jax.tasks.questionnaire import folder
from moral_jax.tasks.questionnaire.folder import Folder
from moral_jax.tasks.rows import Row, described
from moral_jax.types import UserError

FIELDS = ("id", "text", "group", "good", "amount", "of", "next")
BETWEEN = " | "  # of the two outcomes in the name of a pair
FEWEST = 7  # outcomes: of fewer no pair can be held out
SAMPLE = "outcomes"  # the shipped folder, whose question and conditions hold for files too
LOTTERY_SIZES = (2, 3)


class Outcome(NamedTuple):
    """One outcome."""

    id: str
    text: str
    where: str = ""
    group: str = ""
    good: str = ""
    amount: float | None = None
    of: dict[str, float] = {}  # of a lottery: outcome -> probability
    next: tuple[str, ...] | None = None  # of a state: the states that may follow; None: it is no state


def _of(row: Row) -> dict[str, float]:
    """Returns the outcomes of a lottery and their probabilities."""
    of = row.get("of")
    if of is None:
        return {}
    whole = isinstance(of, dict) and len(of) > 1 and all(is_number(p) and p > 0 for p in of.values())
    if not whole or not math.isclose(sum(of.values()), 100):
        raise row.error("of", of, "an object of at least two outcomes and their percentages, which sum to 100")
    return {name: p / 100 for name, p in of.items()}


def _next(row: Row) -> tuple[str, ...] | None:
    after = row.get("next")
    if after is None:
        return None
    if not isinstance(after, list) or not all(isinstance(name, str) for name in after):
        raise row.error("next", after, "a list of the ids of the states that may follow; [] at the end")
    return tuple(after)


def _outcome(row: Row) -> Outcome:
    name, amount = row.only(FIELDS).text("id"), row.get("amount")
    if BETWEEN in name:
        raise row.error("id", name, f"a name without {BETWEEN!r}")
    group, good = (row.text(f) if row.get(f) is not None else "" for f in ("group", "good"))
    if (amount is not None) != bool(good):
        raise row.error("amount", amount, "a number beside field 'good', or neither of the two")
    if amount is not None and not (is_number(amount) and amount > 0):
        raise row.error("amount", amount, "a number above 0")
    return Outcome(name, row.text("text"), row.where, group, good, amount, _of(row), _next(row))


def _rows(path: Path) -> Iterator[Row]:
    """Yields the rows of a file: lines of JSON, or an object group -> list of texts."""
    if path.suffix == ".json":
        for group, texts in strict_json.read(path).items():
            where = f"{path}: {group!r}"
            if not isinstance(texts, list):
                raise UserError(f"{where}: found {strict_json.shown(texts)}, expected a list of texts")
            for number, text in enumerate(texts, 1):
                yield Row({"id": f"{group} {number}", "text": text, "group": group}, f"{where} {number}")
        return
    for where, values in strict_json.read_lines(path):
        yield Row(values, where)


def read(path: Path, limit: int | None = None) -> list[Outcome]:
    """Reads outcomes.

    Args:
      limit: only so many, those that come first.

    Raises:
      UserError: a field is unknown or wrong, an id or text comes twice, a lottery or state names what is not there, or
        there are fewer than seven; names file, line and field.
    """
    found = [_outcome(row) for row in itertools.islice(_rows(path), limit)]
    for field in ("id", "text"):
        seen: dict[str, Outcome] = {}
        for one in found:
            first = seen.setdefault(getattr(one, field), one)
            if first is not one:
                said = f"{getattr(one, field)!r} stands in {first.where} already"
                raise UserError(f"{one.where}: field {field!r}: {said}; outcomes differ")
    known = {one.id for one in found}
    if limit is not None:  # what was left out leaves lotteries and processes that need it out too
        found = [one for one in found if {*one.of, *(one.next or ())} <= known]
        known = {one.id for one in found}
    for one in found:
        for field, names in (("of", one.of), ("next", one.next or ())):
            if unknown := [name for name in names if name not in known]:
                raise UserError(f"{one.where}: field {field!r}: no outcome is called {unknown[0]!r}")
    if len(found) < FEWEST:
        raise UserError(f"{path}: has {len(found)} outcomes; expected {FEWEST} or more, so that a pair can be held out")
    return found


def find(name: str) -> tuple[Folder, Path]:
    """Returns the folder of an elicitation and its file of outcomes: a file, a folder, or the name of a shipped one.

    A file alone is asked with the question, conditions and template of the shipped folder.

    Raises:
      UserError: there is none, or the folder is no elicitation.
    """
    path = Path(name)
    if path.suffix in (".json", ".jsonl"):
        if not path.is_file():
            raise UserError(f"{path}: no such file; expected outcomes, a JSON object a line (docs/elicit.md)")
        shipped = folder.read(SAMPLE)
        words = f"outcomes: {path.name}"
        own = dataclasses.replace(shipped, title=path.stem, about="", sample=False, licence="", attribution=words)
        return own, path
    task = folder.read(name)
    if task.tally != folder.UTILITIES:
        raise UserError(f"{task.path}: is a questionnaire of rows; ask it with moral-jax ask --task={name}")
    return task, task.path / task.rows


def lotteries(outcomes: Sequence[Outcome], count: int, seed: int) -> list[Outcome]:
    """Returns lotteries over plain outcomes: two or three of them, with whole percentages.

    Raises:
      UserError: there are too few plain outcomes.
    """
    plain = [one for one in outcomes if not one.of and one.next is None]
    if len(plain) < max(LOTTERY_SIZES):
        raise UserError(
            f"--also=lotteries: needs {max(LOTTERY_SIZES)} plain outcomes, found {described([o.id for o in plain])}"
        )
    rng, out = np.random.default_rng(seed), []
    for number in range(1, count + 1):
        size = int(rng.choice(LOTTERY_SIZES))
        drawn = [plain[i] for i in rng.choice(len(plain), size, replace=False)]
        percent = 1 + rng.multinomial(100 - size, rng.dirichlet(np.ones(size)))
        parts = [f"with a chance of {p} %: {one.text}" for p, one in zip(percent, drawn, strict=True)]
        text = "; ".join(parts)
        of = {one.id: p / 100 for p, one in zip(percent.tolist(), drawn, strict=True)}
        out.append(Outcome(f"lottery {number}", text[0].upper() + text[1:], "made from outcomes", "lotteries", of=of))
    return out
