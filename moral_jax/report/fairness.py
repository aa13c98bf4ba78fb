"""Puts a comparison of groups into words: conflicts first, then numbers, then what was claimed by them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
    value, *ends = (round(e[key], 3) + 0.0 for key in ("value", "low", "high") if key in e)  # no -0.000
    return f"{value:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else f"{value:+.3f}"


def _rate(e: Mapping[str, float] | None) -> str:
    if e is not None and "expected" in e:
        return f"{number(e['value'])} ({number(e['expected'])} by chance, rarely above {number(e['null'])})"
    return UNDEFINED if e is None else interval(dict(e))


def pair(gap: Mapping[str, Any]) -> str:
    """Returns the name of a gap."""
    return f"{gap['first']} - {gap['second']}"


def conflict(c: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Names what cannot be closed together between two groups."""

    def said(names: Sequence[str]) -> str:
        return ", ".join(f"{labels[n]} {_signed(c['told'][n])}" if n in c["told"] else labels[n] for n in names)

    a, b = map(number, c["base_rates"])
    lead = (
        f"Conflict between {c['first']} and {c['second']}: their base rates differ ({a} and {b}, gap "
        f"{_signed(c['base_gap'])}), while the interval of the gap holds zero for {said(c['closed'])}. "
    )
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


def _upright(header: list[str], rows: list[list[str]]) -> Table:
    """Returns a table that is no wider than long: of few groups a row is a metric."""
    if len(rows) >= len(header):
        return Table(header, rows)
    first, *others = zip(header, *rows, strict=True)
    return Table(list(first), [list(row) for row in others])


def tables(found: Numbers, labels: Mapping[str, str]) -> tuple[Table, Table]:
    """Returns the metrics of every group, and the gap of every pair."""
    metrics = found["metrics"]
    names = ["base rate", *(labels[m] for m in metrics)]
    by_group = [
        [g, number_text(n["items"]), number_text(n["weight"]), *(_rate(n[m]) for m in ("base_rate", *metrics))]
        for g, n in found["groups"].items()
    ]
    by_pair = [[pair(gap), *(_signed(gap[m]) for m in ("base_rate", *metrics))] for gap in found["gaps"]]
    return _upright(["group", "items", "weight", *names], by_group), _upright(["gap", *names], by_pair)


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


class Section(NamedTuple):
    """What the page of a run says of groups."""

    verdict: list[str]
    blocks: list[Block]


def section(found: Numbers, labels: Mapping[str, str]) -> Section:
    """Returns a comparison of groups as a part of another page."""
    return Section(verdict(found, labels), blocks(found, labels))


def blocks(found: Numbers, labels: Mapping[str, str]) -> list[Block]:
    """Returns the parts of a page."""
    groups, gaps = tables(found, labels)
    note = (
        f"A score of at least {found['threshold']:g} is a selection. Brackets show 95 % intervals over resampled "
        f"items. By chance is the calibration error where every label is drawn with its score, its mean and its 95th "
        f"percentile. The base rate describes the labels; every other number has its statement below. A "
        f"number without an interval, but for calibration error and divergence, rests on too few items."
    )
    alone = (
        "The first group minus the second, groups in the order of their names. Small gaps alone are no merit: a "
        "constant score makes as many errors in all groups, and tells nobody apart."
    )
    return [
        Block("Groups", groups, note, is_open=len(groups.rows) <= OPEN_ROWS),
        Block("Gaps", gaps, alone, is_open=len(gaps.rows) <= OPEN_ROWS),
        Block("What is claimed", statement_table(found["statement"], labels), wraps=True),
    ]  # fmt: skip
