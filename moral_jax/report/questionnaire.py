"""Writes the page of a questionnaire: the answer first, then tables beside null respondents, pictures, and answers that
surprise."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from moral_jax.report import plots
from moral_jax.report.page import Written, environment
from moral_jax.report.words import Table, inert, interval, markdown, number
from moral_jax.runs.answers import condition_name
from moral_jax.runs.judged import TURN
from moral_jax.runs.records import Record
from moral_jax.runtime.strict_json import visible

FOREST_ROWS, FOREST_COLUMNS = 26, 2  # most rows of a picture, and columns of a table that get one
HEAT_ROWS, HEAT_COLUMNS = 40, 80  # conditions and rows of the heat map
MARKS = {
    "uniform": "|", "first": "<", "last": ">", "longest": "x", "number": "+", "constant": "1", "own mean": "d",
    "scripted:refuse": "x", "scripted:comply": "+", "scripted:echo": "d",
}  # fmt: skip
OPEN = 12  # most lines beside null respondents that are shown without a click
PRINTED = 16  # most lines of a table that is printed with what null respondents say
ANSWER_SHOWN = 600  # characters of a text
LONG = 40  # rows of a table beyond which it is shown by a click
NOTE = (
    "Brackets show 95 % intervals over resampled rows, where a number rests on five or more. A star marks numbers that "
    "can be told from the nearest null respondent, by the interval of the difference: {nulls} answer the same "
    "questions without reading the rows. Every formula is in docs/questionnaires.md."
)
Numbers = dict[str, Any]


def _difference(cell: Numbers | None) -> str:
    """Formats the difference to the nearest null respondent."""
    if cell is None or "above" not in cell:
        return ""
    d = cell["above"]
    range_ = f" [{d['low']:+.3f}, {d['high']:+.3f}]" if "low" in d else ""
    return f"{d['value']:+.3f}{range_} to {cell['null']}"


def compact(found: Numbers, name: str, who: str) -> Table:
    """Returns one table of a respondent: rows by columns, a star where a number can be told from null respondents."""
    table = found["tables"][name]
    cells = table["cells"].get(who, {})
    better = {"higher": " (higher is better)", "lower": " (lower is better)", "": ""}
    header = ["", *(column + better[table["better"][column]] for column in table["columns"])]
    rows = []
    for row in table["rows"]:
        said = [cells.get(row, {}).get(column) for column in table["columns"]]
        if any(cell is not None for cell in said):
            rows.append([row, *(interval(cell) + (" *" if cell and cell.get("told_apart") else "") for cell in said)])
    return Table(header, rows)


def beside_nulls(found: Numbers, name: str) -> Table:
    """Returns every number of a table beside those of the null respondents, a line each; empty if none has any."""
    table, several = found["tables"][name], len(found["respondents"]) > 1
    one_column = len(table["columns"]) == 1
    changes = several and any("change" in c for _, _, _, c in _lines(found, name))
    header = [
        "", *([] if one_column else ["number"]), *(["respondent"] if several else []), "value", *found["nulls"],
        "difference to the nearest", *(["change to the first respondent"] if changes else []),
    ]  # fmt: skip
    rows = []
    for row, column, who, cell in _lines(found, name):
        if "nulls" in cell:
            nulls = [number(cell["nulls"][n]) if n in cell["nulls"] else "" for n in found["nulls"]]
            change = [interval(cell.get("change"))] if changes else []
            lead = [row, *([] if one_column else [column]), *([who] if several else [])]
            rows.append([*lead, interval(cell), *nulls, _difference(cell), *change])
    return Table(header, rows)


def _lines(found: Numbers, name: str) -> Iterator[tuple[str, str, str, Numbers]]:
    """Yields (row, column, respondent, cell) of a table."""
    table = found["tables"][name]
    for row in table["rows"]:
        for column in table["columns"]:
            for who in found["respondents"]:
                cell = table["cells"].get(who, {}).get(row, {}).get(column)
                if cell is not None:
                    yield row, column, who, cell


def forest(found: Numbers, name: str, column: str) -> str | None:
    """Draws a column of a table: each respondent with intervals, null respondents as marks where they are near."""
    cells = {(row, who): cell for row, col, who, cell in _lines(found, name) if col == column and "nulls" in cell}
    places = {row: -i for i, row in enumerate(dict.fromkeys(row for row, _ in cells))}
    if not 2 <= len(places) <= FOREST_ROWS:
        return None

    def draw(axes: Axes) -> None:
        step = 0.6 / len(found["respondents"])
        for i, who in enumerate(found["respondents"]):
            own = {row: cell for (row, whose), cell in cells.items() if whose == who}
            y = [places[row] - i * step for row in own]
            x = [cell["value"] for cell in own.values()]
            ends = [
                [max(v - c.get("low", v), 0), max(c.get("high", v) - v, 0)]
                for v, c in zip(x, own.values(), strict=True)
            ]
            axes.errorbar(x, y, xerr=np.array(ends).T, fmt="o", color=plots.SERIES[i % len(plots.SERIES)],
                          markersize=4, elinewidth=1.2, label=who)  # fmt: skip
        near = axes.get_xlim()
        width = near[1] - near[0]
        for null in found["nulls"]:
            marked = [(c["nulls"][null], places[row]) for (row, who), c in cells.items()
                      if who == found["respondents"][0] and null in c["nulls"]]  # fmt: skip
            axes.plot(*zip(*marked, strict=True), MARKS.get(null, "."), color=plots.BEFORE, markersize=5, label=null)
        axes.set_xlim(near[0] - width / 2, near[1] + width / 2)
        axes.set_yticks(list(places.values()), [plots.short(row) for row in places])
        axes.set_xlabel(column)
        plots.legend_below(axes, 4)

    return plots.svg(draw, height=1.7 + 0.26 * len(places))


def _darkness(record: Record) -> float:
    """Returns the share of the right option, or of the first one; of a scale the rating, from 0 to 1."""
    p_C, points_C = np.array(record["probabilities"]), np.array(record["positions"])
    if len(points_C):
        return float(np.clip((p_C @ points_C - points_C.min()) / np.ptp(points_C), 0, 1))
    return float(np.clip(p_C[record["gold"] or 0], 0, 1))


def heat(records: Sequence[Record], who: str) -> str | None:
    """Draws condition x row: the share of the right option, of the first one where none is right, or the rating."""
    own = [r for r in records if r["respondent"] == who]
    conditions = list(dict.fromkeys(condition_name(r["condition"]) for r in own))
    rows = list(dict.fromkeys(r["row"] for r in own))
    if not (2 <= len(conditions) <= HEAT_ROWS and 2 <= len(rows) <= HEAT_COLUMNS):
        return None
    share = np.full((len(conditions), len(rows)), np.nan)
    for r in own:
        place = conditions.index(condition_name(r["condition"])), rows.index(r["row"])
        share[place] = _darkness(r)

    def draw(axes: Axes) -> None:
        for (y, x), value in np.ndenumerate(share):
            if np.isfinite(value):
                axes.fill_between([x, x + 1], y, y + 1, color=plots.AFTER, alpha=float(value), linewidth=0)
        axes.set(xlim=(0, len(rows)), ylim=(len(conditions), 0), xlabel="row")
        axes.set_yticks(np.arange(len(conditions)) + 0.5, [plots.short(c) for c in conditions], fontsize=8)
        axes.grid(False)

    return plots.svg(draw, height=1.2 + 0.2 * len(conditions))


def forests(found: Numbers, name: str) -> list[tuple[str, str]]:
    """Returns pictures of the first columns of a table, with their captions."""
    how = "Lines are 95 % intervals; grey marks are null respondents, where they are near."
    columns = found["tables"][name]["columns"][:FOREST_COLUMNS]
    drawn = [(forest(found, name, column), f"{name}: {column}. {how}") for column in columns]
    return [(picture, caption) for picture, caption in drawn if picture]


def _pictures(found: Numbers, records: Sequence[Record]) -> list[tuple[str, str]]:
    """Returns pictures with their captions."""
    out = [drawn for name in found["tables"] for drawn in forests(found, name)]
    for who in found["respondents"]:
        if picture := heat(records, who):
            what = "the share of the right option, or of the first where none is right; of scales the rating"
            out.append((picture, f"{who}, condition by row: {what}. Darker is more."))
    return out


def _saved(about: Numbers) -> list[str]:
    """Says how many tokens were not read again, as several prompts begin with them."""
    out = []
    for who, said in about.get("respondents", {}).items():
        if said.get("tokens") and said["tokens"]["alone"]:
            read, alone = said["tokens"]["read"], said["tokens"]["alone"]
            out.append(
                f"{who} read {read:,} tokens; one by one the prompts have {alone:,} ({1 - read / alone:.0%} saved)."
            )
    return out


def verdict(found: Numbers, about: Numbers) -> list[str]:
    """Says in sentences what the numbers hold, and no more."""
    turns = all(name.startswith(f"{TURN}=") for name in found["conditions"])
    counts = {"row": found["rows"], "turn" if turns else "condition": len(found["conditions"])}
    counts["answer"] = found["records"]
    rows = ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items()) + "."
    sample = ["The rows are a sample written for this project, not those of the paper."] if about.get("sample") else []
    return [*found["findings"], rows, *sample]


def _section(found: Numbers, name: str) -> dict[str, Any]:
    """Returns the tables of a table: by rows and columns, unless it has one column, and beside null respondents."""
    beside = beside_nulls(found, name)
    is_long = len(found["tables"][name]["columns"]) == 1 and beside.rows
    own = [] if is_long else [(who, compact(found, name, who)) for who in found["respondents"]]
    return {"name": name, "compact": own, "beside": beside, "is_open": is_long or len(beside.rows) <= OPEN}


def write(
    folder: Path, found: Numbers, about: Numbers, records: Sequence[Record],
    pictures: list[tuple[str, str]] | None = None, note: str = NOTE,
) -> Written:  # fmt: skip
    """Writes report.html and report.md of a questionnaire into a folder.

    Args:
      found: as `analysis.tallies.count.count` returns it.
      about: what was asked and who answered; may be empty.
      records: the answers.
      pictures: SVG and caption of each; default: those of a tally.
      note: says what brackets and stars are; may name {nulls}.
    """
    subtitle = [about.get("about"), about.get("paper"), about.get("licence"), about.get("attribution")]
    sections = [_section(found, name) for name in found["tables"]]
    said = verdict(found, about)
    values: dict[str, Any] = {
        "title": about.get("title") or folder.resolve().name,
        "subtitle": " · ".join(part for part in subtitle if part),
        "verdict": said,
        "found": found,
        "sections": sections,
        "pictures": _pictures(found, records) if pictures is None else pictures,
        "note": note.format(nulls=", ".join(found["nulls"])) if found["nulls"] else "",
        "long": LONG,
        "saved": _saved(about),
        "shown": ANSWER_SHOWN,
        "several": len(found["respondents"]) > 1,
        "css": (Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
        "markdown": markdown,
        "inert": inert,
        "number": number,
    }
    for suffix in ("html", "md"):
        text = environment(suffix == "html").get_template(f"questionnaire.{suffix}.jinja").render(values)
        (folder / f"report.{suffix}").write_text(visible(text), encoding="utf-8")
    first = sections[0]
    is_printed = not first["compact"] or 0 < len(first["beside"].rows) <= PRINTED
    shown = first["beside"] if is_printed else first["compact"][0][1]
    return Written(folder / "report.html", markdown(shown), "\n".join(said))
