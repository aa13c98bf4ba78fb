"""Puts a comparison of groups into words: conflicts first, then numbers, then what was claimed by them."""

from collections.abc import Mapping, Sequence
from typing import Any

from moral_jax.report.blocks import Block
from moral_jax.report.words import Table, interval, number, number_text

Numbers = dict[str, Any]
OPEN_ROWS = 16  # most rows of a table that is shown without a click
CLUSTERS = ("theory", "protection", "harm", "provision", "scope")
UNDEFINED = "does not exist"


def _signed(e: Mapping[str, float] | None) -> str:
    """Formats a gap as "+0.321 [+0.140, +0.489]"."""
    if e is None:
        return UNDEFINED
    ends = f" [{e['low']:+.3f}, {e['high']:+.3f}]" if "low" in e else ""
    return f"{e['value']:+.3f}{ends}"


def _rate(e: Mapping[str, float] | None) -> str:
    return UNDEFINED if e is None else interval(dict(e))


def pair(gap: Mapping[str, Any]) -> str:
    """Returns the name of a gap."""
    return f"{gap['first']} - {gap['second']}"


def conflict(c: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Names what cannot be closed together between two groups."""

    def said(names: Sequence[str]) -> str:
        return ", ".join(f"{labels[n]} {_signed(c['told'][n])}" if n in c["told"] else labels[n] for n in names)

    a, b = c["base_rates"]
    lead = f"Conflict between {c['first']} and {c['second']}: their base rates differ ({number(a)} and {number(b)}, gap "
    lead += f"{_signed(c['base_gap'])}), and within its interval of 0 is the gap of {said(c['closed'])}. "
    if set(c["closed"]) & set(c["open"]):
        return lead + "They cannot all be closed unless predictions are always right; these rows are too few to tell " \
                      "which is open."  # fmt: skip
    lead += f"Unless predictions are always right, these cannot all be closed then: {said(c['open'])}."
    if c["implied"]:
        first, second = map(number, c["implied"])
        lead += f" With the true positive rate of {c['first']} in both, and their own predictive values, the false " \
                f"positive rates would be {first} and {second}."  # fmt: skip
    return lead


def verdict(found: Numbers, labels: Mapping[str, str]) -> list[str]:
    """Says which claims conflict, and no more."""
    if found["conflicts"]:
        return [conflict(c, labels) for c in found["conflicts"]]
    return ["Among the metrics that are stated, these rows show no conflict."]


def tables(found: Numbers, labels: Mapping[str, str]) -> tuple[Table, Table]:
    """Returns the metrics of every group, and the gap of every pair."""
    metrics = found["metrics"]
    names = ["base rate", *(labels[m] for m in metrics)]
    by_group = [
        [g, number_text(n["rows"]), number_text(n["weight"]), *(_rate(n[m]) for m in ("base_rate", *metrics))]
        for g, n in found["groups"].items()
    ]
    by_pair = [[pair(gap), *(_signed(gap[m]) for m in ("base_rate", *metrics))] for gap in found["gaps"]]
    return Table(["group", "rows", "weight", *names], by_group), Table(["gap", *names], by_pair)


def statement_table(stated: Mapping[str, Any], labels: Mapping[str, str]) -> Table:
    """Returns what is claimed by each metric: a row for each field."""
    header = ["", *(labels[m] for m in stated)]
    first = next(iter(stated.values()))
    rows = [["discipline", *(of["discipline"] for of in stated.values())]]
    for cluster in CLUSTERS:
        rows += [
            [f"{cluster}: {f.replace('_', ' ')}", *(of[cluster][f] for of in stated.values())] for f in first[cluster]
        ]
    return Table(header, rows)


def blocks(found: Numbers, labels: Mapping[str, str]) -> list[Block]:
    """Returns the parts of a page."""
    groups, gaps = tables(found, labels)
    note = f"A score of at least {found['threshold']:g} is a selection. Brackets show 95 % intervals over resampled " \
           "items. The base rate describes the labels; every other number has its statement below."  # fmt: skip
    return [
        Block("Groups", groups, note, is_open=len(groups.rows) <= OPEN_ROWS),
        Block("Gaps", gaps, "The first group minus the second, groups in the order of their names.",
              is_open=len(gaps.rows) <= OPEN_ROWS),
        Block("What is claimed", statement_table(found["statement"], labels), wraps=True),
    ]  # fmt: skip
