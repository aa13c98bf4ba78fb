"""Puts the numbers of a tally into sentences, and picks the answers that surprise."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from moral_jax.analysis.bootstrap import Estimate
from moral_jax.analysis.tallies.base import Key
from moral_jax.runs.answers import condition_name
from moral_jax.runs.records import Record

ROUNDING = 1e-9
SURPRISING = 8  # answers that the page shows


def cells_of(tables: Mapping[str, Any], who: str) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Yields the cells of a respondent."""
    for name, table in tables.items():
        for row, of_row in table["cells"].get(who, {}).items():
            for column, cell in of_row.items():
                yield (name, row, column), cell


def _headline(tables: Mapping[str, Any], wanted: Sequence[Key], who: str) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Yields the cells that the page begins with; where a tally names none, those furthest from null respondents."""
    known = dict(cells_of(tables, who))
    for one in wanted:
        same = (key for key in known if all(w in ("", k) for w, k in zip(one, key, strict=True)))
        if key := next(same, None):
            yield key, known[key]
    if not wanted:
        told = [(key, cell) for key, cell in known.items() if cell.get("told_apart")]
        yield from sorted(told, key=lambda item: -abs(item[1]["above"]["value"]))[:3]


def _said(key: Key, cell: Mapping[str, Any], better: str) -> str:
    """Says one number, and whether it can be told from the null respondent beside it."""
    low_high = f" [{cell['low']:.3f}, {cell['high']:.3f}]" if "low" in cell else ""
    table, row, column = key
    said = f"{table}: {row}, {column}, is {cell['value']:.3f}{low_high}"
    if "above" not in cell:
        return f"{said}."
    null = f"the {cell['nulls'][cell['null']]:.3f} of {cell['null']}, which does not read the rows"
    if "low" not in cell["above"]:
        return f"{said}, beside {null}; there are too few rows to tell them apart."
    if not cell["told_apart"]:
        return f"{said}, which cannot be told from {null}."
    return f"{said}, {_side(cell, better) or 'which can be told from'} {null}."


def _side(cell: Mapping[str, Any], better: str) -> str:
    """Returns "better than" or "worse than" where one direction is better."""
    if not better:
        return ""
    return "better than" if (cell["above"]["value"] > 0) == (better == "higher") else "worse than"


def sentences(tables: Mapping[str, Any], wanted: Sequence[Key], who: str) -> list[str]:
    """Says the headline of a respondent, and how many of its numbers can be told from every null respondent."""
    better = {key: tables[key[0]]["better"][key[2]] for key, _ in cells_of(tables, who)}
    out = [_said(key, cell, better[key]) for key, cell in _headline(tables, wanted, who)]
    compared = [(key, c) for key, c in cells_of(tables, who) if "low" in c.get("above", {})]
    if compared:
        found = [(key, c) for key, c in compared if c["told_apart"]]
        sides = Counter(side for key, c in found if (side := _side(c, better[key])))
        detail = "".join(f", {n} of them {side} it" for side, n in sorted(sides.items()))
        out.append(
            f"{len(found)} of {len(compared)} numbers can be told from the null respondent beside them{detail} (by "
            f"95 % intervals, so about {0.05 * len(compared):.0f} would be by chance)."
        )
    changes = [c["change"] for _, c in cells_of(tables, who) if "low" in c.get("change", {})]
    if changes:
        out.append(
            f"{sum(map(is_beyond, changes))} of {len(changes)} numbers differ from those of the first respondent "
            f"(about {0.05 * len(changes):.0f} would by chance)."
        )
    return out


def is_beyond(difference: Estimate) -> bool:
    """Returns true if an interval excludes 0 by more than rounding."""
    return "low" in difference and (difference["low"] > ROUNDING or difference["high"] < -ROUNDING)


def surprising(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Returns the records that surprise most: a right option with a small share, or else an answer that a condition
    moves far from the row's answer without one, or else a sure answer."""
    plain = {(r["respondent"], r["row"]): r for r in records if set(r["condition"].values()) <= {"none"}}

    def far(record: Record) -> tuple[float, str]:
        p_C = np.array(record["probabilities"])
        if record["gold"] is not None:
            return 1 - float(p_C[record["gold"]]), f"the right option has {p_C[record['gold']]:.2f}"
        other = plain.get((record["respondent"], record["row"]))
        if other is not None and other is not record and len(other["options"]) == len(p_C):
            moved = float(np.abs(p_C - other["probabilities"]).sum() / 2)
            return moved, f"moved by {moved:.2f} by the condition"
        return float(p_C.max()) - 1, f"the likeliest option has {p_C.max():.2f}"

    ranked = sorted(((*far(r), i) for i, r in enumerate(records)), key=lambda x: (-x[0], x[2]))
    kept: list[dict[str, Any]] = []
    for _, why, i in ranked:
        if records[i]["row"] not in {k["row"] for k in kept}:
            kept.append(_shown(records[i], why))
        if len(kept) == SURPRISING:
            break
    return kept


def _shown(record: Record, why: str) -> dict[str, Any]:
    kept = ("respondent", "row", "question", "text", "options", "probabilities", "gold")
    return {k: record[k] for k in kept} | {"condition": condition_name(record["condition"]), "why": why}
