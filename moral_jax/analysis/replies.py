"""Numbers on replies: what they are worth, how long they are, how many ended by themselves.

Prompts are resampled, as the replies to one prompt are no independent rows.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from moral_jax.analysis.bootstrap import Estimate, interval
from moral_jax.analysis.metrics import mean_of_known
from moral_jax.analysis.summary import in_groups, resampling_of
from moral_jax.runs.quantities import REPLIES, Quantity
from moral_jax.runs.records import Record
from moral_jax.runs.reply_records import KIND

BY_NAME = "reward/"  # begins the name of a single reward's number


def quantity(name: str) -> Quantity:
    """Returns what a number is called; single rewards go by their own names."""
    return REPLIES["reward"]._replace(label=name.removeprefix(BY_NAME)) if name.startswith(BY_NAME) else REPLIES[name]


def _mean(record: Record, of: Callable[[dict[str, Any]], float | None]) -> float:
    """Returns the mean over the replies to a prompt of which a number is known; NaN if it is of none."""
    known = [x for reply in record["replies"] if (x := of(reply)) is not None]
    return float(np.mean(known)) if known else np.nan


def _one(name: str, reply: dict[str, Any]) -> float | None:
    """Returns what a single reward says of a reply."""
    return reply["rewards"].get(name)


def statistics(records: list[Record]) -> dict[str, Any]:
    """Returns every number of a stage by name, as a statistic of row weights; a row is a prompt."""
    of: dict[str, Callable[[dict[str, Any]], float | None]] = {"reward": lambda reply: reply["reward"]}
    names = list(dict.fromkeys(name for r in records for reply in r["replies"] for name in reply["rewards"]))
    if len(names) > 1:
        of |= {f"{BY_NAME}{name}": functools.partial(_one, name) for name in names}
    of |= {
        "unknown": lambda reply: float(reply["reward"] is None),
        "tokens": lambda reply: float(reply["tokens"]),
        "finished": lambda reply: float(reply["reason"] != "length"),
    }
    out: dict[str, Any] = {}
    for name, number in of.items():
        values_E = np.array([_mean(record, number) for record in records])
        if np.isfinite(values_E).any():
            out[name] = functools.partial(mean_of_known, values_E)
    return out


def _estimates(records: list[Record], count: int, seed: int) -> dict[str, Estimate]:
    drawn = resampling_of(records, count, seed).draws(statistics(records))
    return {name: interval(d, quantity(name).limits) for name, d in drawn.items()}


def summarise(records: list[Record], count: int, seed: int) -> dict[str, Any]:
    """Returns what stands in a stage's `metrics.json`; arguments as of `bootstrap.Resampling`."""
    groups = in_groups(records, lambda part: _estimates(part, count, seed))
    return {"kind": KIND, "rows": len(records), "metrics": _estimates(records, count, seed), "groups": groups}


def compare(before: list[Record], after: list[Record], count: int, seed: int) -> dict[str, Estimate]:
    """Returns paired differences, after minus before."""
    resampling = resampling_of(after, count, seed)
    a, b = (resampling.draws(statistics(records)) for records in (before, after))
    return {name: interval(b[name] - a[name]) for name in b if name in a}
