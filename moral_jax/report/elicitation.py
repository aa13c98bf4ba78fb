"""Writes the page of an elicitation: that of a questionnaire, with pictures of utilities and of exchange rates."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from moral_jax.report import plots, questionnaire
from moral_jax.report.page import Written
from moral_jax.report.questionnaire import Numbers
from moral_jax.report.words import Table, interval, markdown

UTILITIES, UTILITY, RATES, RATE = "Utilities", "utility", "Exchange rates", "rate"
LINES = "Lines are 95 % intervals"
MOST, ENDS = 40, 15  # outcomes in the picture; of more, those at both ends
PRINTED = 10  # outcomes at both ends that are printed
NOTE = (
    "Brackets show 95 % intervals: of accuracies, losses and shares over resampled pairs, as wide as pairs that share "
    "an outcome make them; of utilities over fits to resampled pairs. {nulls} answer the same pairs without reading "
    "what outcomes mean; their own utilities are fitted to what they say. Every formula is in docs/elicit.md."
)


def _cells(found: Numbers, table: str, column: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns respondent -> row -> cell of a column."""
    own = found["tables"].get(table, {"cells": {}})["cells"]
    return {who: {row: of[column] for row, of in rows.items() if column in of} for who, rows in own.items()}


def ends(rows: list[str], most: int, each: int) -> list[str]:
    """Returns all rows where they are few, else those at both ends."""
    return rows if len(rows) <= most else [*rows[:each], *rows[-each:]]


def _ranked(found: Numbers) -> list[str]:
    """Returns outcomes by the utility that they have for the first respondent, highest first."""
    of_first = _cells(found, UTILITIES, UTILITY).get(found["respondents"][0], {})
    return sorted(of_first, key=lambda row: -of_first[row]["value"])


def _spans(axes: Axes, found: Numbers, cells: dict[str, dict[str, dict[str, Any]]], rows: list[str]) -> None:
    """Draws values with intervals, a line for each row and a colour for each respondent."""
    step = 0.6 / len(found["respondents"])
    for i, who in enumerate(found["respondents"]):
        own = [(place, cells[who][row]) for place, row in enumerate(rows) if row in cells.get(who, {})]
        x = np.array([cell["value"] for _, cell in own])
        y = np.array([-place - i * step for place, _ in own])
        low = np.array([cell.get("low", cell["value"]) for _, cell in own])
        high = np.array([cell.get("high", cell["value"]) for _, cell in own])
        axes.errorbar(
            x, y, xerr=np.array([x - low, high - x]), fmt="o", color=plots.SERIES[i % len(plots.SERIES)], markersize=4,
            elinewidth=1.2, label=who,
        )  # fmt: skip
    axes.set_yticks([-place for place in range(len(rows))], [plots.short(row, 44) for row in rows], fontsize=8)
    if len(found["respondents"]) > 1:
        plots.legend_below(axes, 3)


def utilities(found: Numbers) -> str | None:
    """Draws utilities with their intervals; of many outcomes the highest and the lowest."""
    rows = ends(_ranked(found), MOST, ENDS)
    if len(rows) < 2:
        return None

    def draw(axes: Axes) -> None:
        _spans(axes, found, _cells(found, UTILITIES, UTILITY), rows)
        axes.set_xlabel("utility (mean 0, sd 1)")

    return plots.svg(draw, height=1.4 + 0.2 * len(rows))


def rates(found: Numbers) -> str | None:
    """Draws exchange rates with their intervals on a logarithmic axis."""
    cells = _cells(found, RATES, RATE)
    rows = list(dict.fromkeys(row for of in cells.values() for row in of))
    if not rows:
        return None

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        _spans(axes, found, cells, rows)
        axes.axvline(1, color=plots.INK, linewidth=0.8, linestyle="--")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.set_xlabel("how many (log scale)")

    return plots.svg(draw, height=1.4 + 0.26 * len(rows))


def _pictures(found: Numbers) -> list[tuple[str, str]]:
    """Returns pictures with their captions."""
    shown = len(ends(_ranked(found), MOST, ENDS))
    which = "" if shown == found["outcomes"] else f" The {ENDS} highest and the {ENDS} lowest of {found['outcomes']}."
    rated = f"Exchange rates: how many of the first are worth one of the second. {LINES}; dashed is one for one."
    drawn = [(utilities(found), f"Utilities. {LINES} over fits to resampled pairs.{which}"), (rates(found), rated)]
    return [(picture, caption) for picture, caption in drawn if picture]


def _printed(found: Numbers) -> str:
    """Returns the utilities that are printed: those at both ends, if there are many."""
    cells = _cells(found, UTILITIES, UTILITY)
    rows = ends(_ranked(found), 2 * PRINTED, PRINTED)
    header = ["", *(f"utility, {who}" if len(cells) > 1 else "utility" for who in cells)]
    return markdown(Table(header, [[row, *(interval(of.get(row)) for of in cells.values())] for row in rows]))


def write(folder: Path, found: Numbers, about: Numbers) -> Written:
    """Writes report.html and report.md into a folder.

    Args:
      found: as `analysis.utilities.count.count` returns it.
      about: what was asked and who answered.
    """
    written = questionnaire.write(folder, found, about, [], _pictures(found), NOTE)
    return written._replace(table=f"{written.table}\n\n{_printed(found)}")
