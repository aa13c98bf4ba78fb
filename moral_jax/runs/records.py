"""One record per evaluated example: what people said, what the model said, in each order and on average. JSON."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moral_jax.runtime import strict_json
from moral_jax.runtime.files import whole
from moral_jax.types import Example, Item

Record = dict[str, Any]


class ItemScores(NamedTuple):
    """One row per item of `Questions`; options in the order in which they were shown."""

    log_p_EC: np.ndarray
    # log of the probability that the model puts on all options' tokens together; None where options are no tokens
    log_mass_E: np.ndarray | None
    log_concentration_E: np.ndarray


def entropy(p_C: np.ndarray) -> float:
    """- sum p log p in nats."""
    return float(-np.sum(p_C * np.log(np.where(p_C > 0, p_C, 1.0))))


def make_records(examples: list[Example], items: list[Item], scores: ItemScores) -> list[Record]:
    """Averages an example's orders: probabilities as they are, concentration in the log.

    Every distribution in a record is in the data's own order of options, however they were shown.
    """
    shown: dict[int, list[Record]] = {i: [] for i in range(len(examples))}
    for item, (index, order) in enumerate(items):
        p_C = np.empty(len(order))
        p_C[list(order)] = np.exp(scores.log_p_EC[item, : len(order)].astype(np.float64))
        shown[index].append(
            {
                "order": list(order),
                "probabilities": (p_C / p_C.sum()).tolist(),
                "log_mass": None if scores.log_mass_E is None else float(scores.log_mass_E[item]),
                "log_concentration": float(scores.log_concentration_E[item]),
            }
        )
    return [_record(example, shown[i]) for i, example in enumerate(examples)]


def _record(example: Example, orders: list[Record]) -> Record:
    p_C = np.mean([o["probabilities"] for o in orders], axis=0)
    return {
        "id": example.id,
        "question": example.question,
        "title": example.title,
        "text": example.text,
        "options": list(example.options),
        "counts": list(example.counts),
        "second_counts": None if example.second_counts is None else list(example.second_counts),
        "groups": example.groups,
        "probabilities": p_C.tolist(),
        "option_mass": _option_mass(orders),
        "entropy": entropy(p_C),
        "concentration": math.exp(float(np.mean([o["log_concentration"] for o in orders]))),
        "orders": orders,
    }


def _option_mass(orders: list[Record]) -> float | None:
    """None where options are no tokens."""
    masses = [o["log_mass"] for o in orders]
    return None if None in masses else float(np.mean(np.exp(masses)))


def write_jsonl(path: Path, rows: Iterable[Record]) -> None:
    """Whole or not at all."""
    with whole(path) as f:
        f.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def read_jsonl(path: Path) -> list[Record]:
    """Reads what `write_jsonl` wrote."""
    return strict_json.read_records(path)
