"""What is chosen: agreement with right options, marked options, certainty, orders and wordings."""

from collections.abc import Iterator

import numpy as np

from moral_jax.analysis.tallies.base import Answered, Measure, is_choice, js_divergence, ratio
from moral_jax.runs.records import Record, entropy

RIGHT, SURE, MEAN_SHARE, ACCURACY = "Right options", "How sure", "mean share", "accuracy"
MARKED = "=Yes"  # what tags of tables with a column for each mark end with


def _spread_of_orders(record: Record) -> float | None:
    """Returns the mean total variation between an order and the average; None where there was one order."""
    p_OC = np.array([shown["probabilities"] for shown in record["orders"]])
    return float(np.abs(p_OC - p_OC.mean(0)).sum(-1).mean() / 2) if len(p_OC) > 1 else None


def _of_gold(record: Record) -> float | None:
    return None if record["gold"] is None else record["probabilities"][record["gold"]]


def _hits_gold(record: Record) -> float | None:
    return None if record["gold"] is None else is_choice(record["probabilities"], record["gold"])


def _marks(record: Record) -> list[set[str]]:
    """Returns the tags of each option, without those that say that something is not so."""
    said = [{tag for tag in tags if "=" not in tag or tag.endswith(MARKED)} for tags in record["tags"]]
    return [{tag.removesuffix(MARKED) for tag in tags} for tags in said]


def _of_tag(record: Record, tag: str) -> float | None:
    """Returns the share of the options with a tag; None where all options or none have it."""
    has = [tag in marks for marks in _marks(record)]
    return None if all(has) or not any(has) else sum(np.compress(has, record["probabilities"]))


def measures(a: Answered) -> Iterator[Measure]:
    """Yields tables by condition, by group, by tag, and how far the wordings of a row lie apart."""
    for name, own in a.by_condition():
        if any(r["gold"] is not None for r in own.records):
            yield Measure(RIGHT, name, MEAN_SHARE, own.mean(map(_of_gold, own.records)), "higher")
            yield Measure(RIGHT, name, ACCURACY, own.mean(map(_hits_gold, own.records)), "higher")
        entropies = [entropy(np.array(r["probabilities"])) / np.log(len(r["options"])) for r in own.records]
        yield Measure(SURE, name, "entropy, of 1", own.mean(entropies))
        yield Measure(SURE, name, "spread over orders", own.mean(map(_spread_of_orders, own.records)))
        masses = [r["option_mass"] for r in own.records]
        if any(mass is not None for mass in masses):
            yield Measure(SURE, name, "probability on labels", own.mean(masses))
        for kind, group, of_group in own.by_group():
            shares = [_of_gold(r) for r in of_group.records]
            if any(share is not None for share in shares):
                yield Measure(f"Mean share of right options by {kind}", group, name, of_group.mean(shares), "higher")
            sure = [entropy(np.array(r["probabilities"])) / np.log(len(r["options"])) for r in of_group.records]
            yield Measure(f"Entropy by {kind}, of 1", group, name, of_group.mean(sure))
        tags = dict.fromkeys(tag for r in own.records for marks in map(sorted, _marks(r)) for tag in marks)
        for tag in tags:
            yield Measure("Share of options with a tag", tag, name, own.mean([_of_tag(r, tag) for r in own.records]))
    yield from _wordings(a)


def _wordings(a: Answered) -> Iterator[Measure]:
    """Yields how far a row's answers under different conditions lie from their mean, for rows asked under several."""
    of_row: dict[str, list[list[float]]] = {}
    for r in a.records:
        of_row.setdefault(f"{r['row']} {len(r['options'])}", []).append(r["probabilities"])
    spread_E, rows_E = np.zeros(len(a.units)), np.zeros(len(a.units))
    unit_of_row = {f"{r['row']} {len(r['options'])}": unit for r, unit in zip(a.records, a.unit_N, strict=True)}
    for row, shares in of_row.items():
        if len(shares) > 1:
            mean_C = np.mean(shares, axis=0)
            spread_E[unit_of_row[row]] += np.mean([js_divergence(p, mean_C) for p in shares])
            rows_E[unit_of_row[row]] += 1
    if rows_E.any():
        yield Measure("Between conditions", "all rows", "Jensen-Shannon divergence, nats", ratio(spread_E, rows_E))
