"""Draws the pictures of a study: metrics with intervals, reliability of each model, vote splits, learning curves."""

from typing import Literal, TypedDict

import numpy as np
from matplotlib.axes import Axes

from moral_jax.report.plots import AFTER, BEFORE, GRID, INK, MARK, SERIES, svg
from moral_jax.report.study import tables
from moral_jax.report.study.tables import Entry, Task, name

COLOURS = {"zero-shot": BEFORE, "CE-tuned": AFTER, "Dirichlet-tuned": MARK}
LineStyle = Literal["-", "--", ":"]
LINES: tuple[LineStyle, ...] = ("-", "--", ":")  # for the next lines, once all colours are used
ROW_HEIGHT = 0.3  # inches


class Style(TypedDict):
    """Arguments of matplotlib for a line."""

    color: str
    linestyle: LineStyle


def _style(number: int) -> Style:
    return {"color": SERIES[number % len(SERIES)], "linestyle": LINES[number // len(SERIES) % len(LINES)]}


def _span(e: dict[str, float]) -> np.ndarray:
    """Returns how far an interval reaches below and above its value, [2, 1], the shape that matplotlib expects."""
    low, high = e.get("low", e["value"]), e.get("high", e["value"])
    return np.array([[max(0.0, e["value"] - low)], [max(0.0, high - e["value"])]])


def forest(task: Task, metric: str) -> str | None:
    """Draws every entry with its interval, and the yardsticks as lines; returns None if no entry has the metric."""
    scored = [e for e in tables.full_data_entries(task) if metric in e["metrics"]]
    if not scored:
        return None

    def draw(axes: Axes) -> None:
        for place, e in enumerate(reversed(scored)):
            number = e["metrics"][metric]
            colour = COLOURS.get(e["training"], INK)
            axes.errorbar(number["value"], place, xerr=_span(number), fmt="o", color=colour, markersize=5, capsize=2)
        yard = {
            k: v
            for k, v in task["yardsticks"].items()
            if metric in v and k in ("best constant", "second panel", "BEST")
        }
        for key, style in zip(yard, LINES, strict=False):
            axes.axvline(yard[key][metric], color=INK, linewidth=0.9, linestyle=style, label=key)
        axes.set_yticks(range(len(scored)), [name(e) for e in reversed(scored)], fontsize=8)
        axes.set(xlabel=f"{tables.OVERVIEW[metric]} (nats)", ylim=(-0.6, len(scored) - 0.4))
        axes.grid(visible=False, axis="y")
        if yard:
            axes.figure.legend(loc="outside upper center", ncols=3)  # a legend of the axes would shrink them

    return svg(draw, height=1.2 + ROW_HEIGHT * len(scored))


def reliability(entries: list[Entry]) -> str | None:
    """Draws the mean human share by predicted share of one model, a line for each training."""
    scored = [e for e in entries if e.get("reliability")]
    if not scored:
        return None

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
        for e in scored:
            bins, colour = e["reliability"], COLOURS.get(e["training"], INK)
            pairs = sum(b["pairs"] for b in bins)
            x, y = [b["predicted"] for b in bins], [b["human"] for b in bins]
            axes.plot(x, y, color=colour, linewidth=1)
            size = [max(12, 160 * b["pairs"] / pairs) for b in bins]
            axes.scatter(x, y, s=size, color=colour, label=e["training"] or e["row"])
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted share", ylabel="share of the votes (mean)")
        axes.legend()

    return svg(draw)


def splits(task: Task) -> str | None:
    """Draws the cross-entropy of every entry on each subset of the first kind, above the entropy of the votes."""
    if not task["groups"]:
        return None
    of_kind = [g for g in task["groups"] if g["kind"] == task["groups"][0]["kind"]]
    places = np.arange(len(of_kind))

    def draw(axes: Axes) -> None:
        best = [g.get("BEST", np.nan) for g in of_kind]
        axes.plot(places, best, "s--", color=GRID, markersize=5, label="true shares")
        lines = [[e for e in g["entries"] if e["share"] == 1] for g in of_kind]
        for number, of_entry in enumerate(zip(*lines, strict=True)):
            values = [e["cross_entropy"] for e in of_entry]
            shift = 0.04 * (number - len(lines[0]) / 2)
            spans = np.concatenate([_span(v) for v in values], axis=1)
            axes.errorbar(
                places + shift, [v["value"] for v in values], yerr=spans, marker="o", markersize=4, linewidth=1,
                label=name(of_entry[0]), **_style(number),
            )  # fmt: skip
        axes.set_xticks(places, [f"{g['name']}\n{g['rows']} rows" for g in of_kind])
        axes.set(xlabel=of_kind[0]["kind"], ylabel="cross-entropy (nats)")
        axes.legend(fontsize=8)

    return svg(draw)


def learning_curve(task: Task, metric: str) -> str | None:
    """Draws a metric by rows of training data, a line for each model and training."""
    scored = [[e for e in c if metric in e["metrics"] and e.get("train_rows")] for c in tables.curves(task)]
    scored = [c for c in scored if len(c) > 1]
    if not scored:
        return None

    def draw(axes: Axes) -> None:
        for number, c in enumerate(scored):
            values = [e["metrics"][metric] for e in c]
            spans = np.concatenate([_span(v) for v in values], axis=1)
            axes.errorbar(
                [e["train_rows"] for e in c], [v["value"] for v in values], yerr=spans, marker="o", markersize=4,
                capsize=2, label=f"{c[0]['row']} ({c[0]['training']})", **_style(number),
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set(xlabel="rows of training data", ylabel=f"{tables.OVERVIEW[metric]} (nats)")
        axes.legend(fontsize=8)

    return svg(draw)
