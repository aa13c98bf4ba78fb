"""Writes the page of what groups decide together: the winner by each way, where ways differ, and all scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moral_jax.report import blocks
from moral_jax.report.blocks import Block
from moral_jax.report.page import Written
from moral_jax.report.words import Table, number

Numbers = Mapping[str, Any]
MOST_SAID = 6  # questions that the verdict names


def _winners(found: Numbers) -> Table:
    """Returns a line a question; a star marks ways that differ from the one that the page begins with."""
    ways = list(next(iter(found["winners"].values())))
    rows = []
    for question, of in found["winners"].items():
        first = of[found["way"]]["options"]
        rows.append([question, *(_cell(of[way], first) for way in ways)])
    return Table(["", *ways], rows)


def _differ(of: Numbers) -> bool:
    """Returns true if the ways do not all choose alike."""
    return len({tuple(won["options"]) for won in of.values()}) > 1


def _cell(won: Numbers, first: list[str]) -> str:
    stays = f" ({won['stays']:.0%})" if won["stays"] is not None else ""
    options = won["options"]
    said = " and ".join(options) if len(options) < 3 else f"a tie of {len(options)}"
    return said + stays + (" *" if options != first else "")


def _alike(found: Numbers) -> Table:
    """Returns the share of questions that two ways decide alike."""
    of = list(found["winners"].values())
    ways = list(of[0])
    rows = [
        [one, *(number(sum(q[one]["options"] == q[other]["options"] for q in of) / len(of)) for other in ways)]
        for one in ways
    ]
    return Table(["", *ways], rows)


def _scores(table: Numbers) -> Table:
    [cells] = table["cells"].values()
    rows = [[option, *(number(cells[option][way]["value"]) for way in table["columns"])] for option in table["rows"]]
    return Table(["", *table["columns"]], rows)


def write(folder: Path, found: Numbers, about: Numbers) -> Written:
    """Writes report.html and report.md.

    Args:
      found: as `analysis.tallies.aggregators.count` returns it.
      about: of the questionnaire; may be empty.
    """
    parts = [about.get(name) for name in ("about", "paper", "licence", "attribution")]
    *each, last = found["findings"]
    each = [said for said, of in zip(each, found["winners"].values(), strict=True) if _differ(of)] or each
    cut = [f"{len(each) - MOST_SAID} more stand in the table."] if len(each) > MOST_SAID else []
    verdict = [last, *each[:MOST_SAID], *cut]
    verdict.append(f"{found['rows']} rows of votes, {len(found['groups'])} groups: {', '.join(found['groups'])}.")
    verdict += ["The rows are a sample written for this project: nobody voted."] if about.get("sample") else []
    winners = _winners(found)
    content = [
        Block("Winners", winners, "A star marks what differs from the way that the page begins with (--aggregate). In "
              "brackets: the share of resampled votes in which the same options win.", wraps=True),
        *([Block("Which ways decide alike", _alike(found), "Share of questions.")] if found["units"] > 1 else []),
        *(Block(question, _scores(table)) for question, table in found["tables"].items()),
    ]  # fmt: skip
    title = about.get("title") or folder.resolve().name
    return blocks.write(folder, title, " · ".join(part for part in parts if part), verdict, content, [("", winners)])
