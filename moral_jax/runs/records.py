"""One record for each example: what people said, what the respondent said, in each order and on average. JSON lines.

Whoever answers gives `Choices`, one entry for each ask (an example in one order of its options). `make_records` brings
them into the data's own order and averages the orders.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moral_jax.runtime import strict_json
from moral_jax.runtime.strict_json import is_number, shown
from moral_jax.types import Array, Example, Item, UserError

Record = dict[str, Any]


class Asks(NamedTuple):
    """What a respondent is asked: examples, each in some orders of its options."""

    examples: Sequence[Example]
    items: list[Item]  # (index into examples, order of the options)


def as_given(examples: Sequence[Example]) -> Asks:
    """Returns each example once, its options in the order in which they stand."""
    return Asks(examples, [(i, (0,)) for i in range(len(examples))])


class Bounds(NamedTuple):
    """What a respondent that does not say everything leaves open; options in the order in which they were shown."""

    low_EC: np.ndarray  # of each option's share
    high_EC: np.ndarray
    missing_E: np.ndarray  # probability of all tokens that are not listed
    unseen: list[list[int]]  # places of options of which no token is listed


class Choices(NamedTuple):
    """A respondent's answers, one row per ask; options in the order in which they were shown."""

    log_p_EC: Array
    log_mass_E: Array | None  # log probability of all options' tokens together; None where options are no tokens
    log_concentration_E: Array
    picked_E: np.ndarray | None = None  # place of the option that a rule picks, if not the likeliest; -1: none
    bounds: Bounds | None = None


def entropy(p_C: np.ndarray) -> float:
    """Returns - sum p log p in nats."""
    return float(-np.sum(p_C * np.log(np.where(p_C > 0, p_C, 1.0))))


def make_records(asks: Asks, choices: Choices) -> list[Record]:
    """Averages the orders of each example: probabilities arithmetically, concentrations in the log.

    Every distribution in a record is in the data's own order of options.
    """
    shown_in: dict[int, list[Record]] = {i: [] for i in range(len(asks.examples))}
    rows_of: dict[int, list[int]] = {i: [] for i in range(len(asks.examples))}
    for row, (index, order) in enumerate(asks.items):
        shown_in[index].append(_in_one_order(row, order, choices))
        rows_of[index].append(row)
    records = [_record(example, shown_in[i]) for i, example in enumerate(asks.examples)]
    for i, record in enumerate(records):
        orders = [asks.items[row][1] for row in rows_of[i]]
        record |= _bounds(rows_of[i], orders, choices.bounds) if choices.bounds else {}
        if choices.picked_E is not None:
            place = int(choices.picked_E[rows_of[i][0]])
            record["choice"] = None if place < 0 else int(orders[0][place])
    return records


def _in_one_order(row: int, order: tuple[int, ...], choices: Choices) -> Record:
    p_C = np.empty(len(order))
    p_C[list(order)] = np.exp(choices.log_p_EC[row, : len(order)].astype(np.float64))
    out = {
        "order": list(order),
        "probabilities": (p_C / p_C.sum()).tolist(),
        "log_mass": None if choices.log_mass_E is None else float(choices.log_mass_E[row]),
        "log_concentration": float(choices.log_concentration_E[row]),
    }
    if choices.bounds:
        out["unseen"] = sorted(order[place] for place in choices.bounds.unseen[row])
    return out


def _bounds(rows: list[int], orders: list[tuple[int, ...]], bounds: Bounds) -> Record:
    """Returns the mean bounds over the orders of one example."""

    def mean(values_EC: np.ndarray) -> list[float]:
        by_order = [values_EC[row, : len(order)][np.argsort(order)] for row, order in zip(rows, orders, strict=True)]
        return np.mean(by_order, axis=0).tolist()

    missing = float(np.mean(bounds.missing_E[rows]))
    return {"low": mean(bounds.low_EC), "high": mean(bounds.high_EC), "missing_mass": missing}


def _record(example: Example, orders: list[Record]) -> Record:
    p_C = np.mean([o["probabilities"] for o in orders], axis=0)
    return (
        {
            "id": example.id,
            "question": example.question,
            "title": example.title,
            "text": example.text,
            "options": list(example.options),
            "counts": list(example.counts),
            "second_counts": None if example.second_counts is None else list(example.second_counts),
            "keys": list(example.keys),
            "positions": list(example.positions),
            "groups": example.groups,
            "probabilities": p_C.tolist(),
            "option_mass": _option_mass(orders),
            "entropy": entropy(p_C),
            "concentration": math.exp(float(np.mean([o["log_concentration"] for o in orders]))),
            "orders": orders,
        }
        | ({"exchangeable": True} if example.exchangeable else {})
        | example.notes
    )


def _option_mass(orders: list[Record]) -> float | None:
    """Returns the mean probability of the options' tokens; None where options are no tokens."""
    masses = [o["log_mass"] for o in orders]
    return None if None in masses else float(np.mean(np.exp(masses)))


def read_checked(path: Path, check: Callable[[str, Record], None], again: str) -> list[Record]:
    """Reads what `write_jsonl` wrote of texts or replies.

    Args:
      check: (place, record) raises UserError for what is no such record.
      again: the remedy.

    Raises:
      UserError: a line is no such record; names it.
    """
    records = []
    for where, row in strict_json.read_lines(path):
        check(where, row)
        if not isinstance(row.get("id"), str) or not isinstance(row.get("groups"), dict):
            raise UserError(f"{where}: no record: it has no id or no groups; {again}")
        records.append(row)
    if not records:
        raise UserError(f"{path}: holds no records; delete it and {again}")
    return records


def are_shares(values: Any, count: int) -> bool:
    """Returns true for a list of `count` numbers of which none is negative and some are positive."""
    return are_numbers(values, count) and min(values) >= 0 and max(values) > 0


def are_numbers(values: Any, count: int) -> bool:
    """Returns true for a list of `count` finite numbers."""
    return isinstance(values, list) and len(values) == count and all(map(is_number, values))


def are_orders(values: Any, count: int) -> bool:
    """Returns true for what was said in at least one order of `count` options."""

    def is_one(value: Any) -> bool:
        if not isinstance(value, dict) or not are_shares(value.get("probabilities"), count):
            return False
        order, log_mass = value.get("order"), value.get("log_mass")
        if not isinstance(order, list) or not all(type(place) is int for place in order):
            return False
        return sorted(order) == list(range(count)) and (log_mass is None or is_number(log_mass))

    return isinstance(values, list) and bool(values) and all(map(is_one, values))


def _faults(row: Record, count: int) -> Iterator[tuple[str, str]]:
    """Yields the fields of a record of `count` options that hold something else than they should, and what that is."""
    shares = f"{count} finite numbers, not all zero"
    if not isinstance(row.get("id"), str):
        yield "id", "a text"
    if not are_shares(row.get("counts"), count):
        yield "counts", shares
    if not are_shares(row.get("probabilities"), count):
        yield "probabilities", shares
    if not is_number(row.get("concentration")) or row["concentration"] <= 0:
        yield "concentration", "a positive number"
    if not are_orders(row.get("orders"), count):
        yield "orders", f"a list of objects with an order of {count} options, and their probabilities"
    if row["second_counts"] is not None and not are_shares(row["second_counts"], count):
        yield "second_counts", f"null or {shares}"
    if row["option_mass"] is not None and not is_number(row["option_mass"]):
        yield "option_mass", "null or a number"
    elif row["option_mass"] is not None and any(order.get("log_mass") is None for order in row["orders"]):
        yield "option_mass", "null, as some order has no log_mass"
    if not is_number(row.get("entropy", 0)):
        yield "entropy", "a number"
    if not isinstance(row["groups"], dict) or not all(isinstance(name, str) for name in row["groups"].values()):
        yield "groups", "an object of texts"
    choice = row.get("choice")
    if choice is not None and (type(choice) is not int or not 0 <= choice < count):
        yield "choice", f"a whole number below {count}, or null where a rule picks none"
    if "low" in row:
        for bound in ("low", "high"):
            if not are_numbers(row.get(bound), count):
                yield bound, f"{count} finite numbers"
        if not is_number(row.get("missing_mass")):
            yield "missing_mass", "a number"


def read_jsonl(path: Path) -> list[Record]:
    """Reads what `write_jsonl` wrote: an object a line; fields that only some respondents have are null elsewhere.

    Raises:
      UserError: a line is no such record; names it.
    """
    records = []
    for where, row in strict_json.read_lines(path):
        options = row.get("options")
        if not isinstance(options, list) or len(options) < 2:
            raise UserError(f"{where}: no record: field 'options': found {shown(options)}; score the rows again")
        row.setdefault("second_counts", None)
        row.setdefault("option_mass", None)
        row.setdefault("groups", {})
        for field, expected in _faults(row, len(options)):
            found = f"found {shown(row.get(field))}, expected {expected}"
            raise UserError(f"{where}: no record: field {field!r}: {found}; score the rows again")
        row.setdefault("entropy", entropy(np.array(row["probabilities"])))
        records.append(row)
    if not records:
        raise UserError(f"{path}: holds no records; delete it and score the rows again")
    return records
