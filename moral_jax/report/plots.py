"""Draws pictures as SVG text. Colours are CSS variables, so one picture serves light and dark pages."""

import io
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from moral_jax.report.source import Source, Stage

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# Placeholder colours for matplotlib. `svg` replaces each by a CSS variable in the finished text.
INK, GRID, BEFORE, AFTER, MARK = "#010101", "#020202", "#030303", "#040404", "#050505"
SERIES = tuple(f"#06060{i}" for i in range(1, 9))  # of the lines in one picture
VARIABLES = {INK: "--ink-soft", GRID: "--line", BEFORE: "--before", AFTER: "--after", MARK: "--mark"} | {
    colour: f"--series-{i}" for i, colour in enumerate(SERIES, 1)
}
COLOURS = {"initial": BEFORE, "trained": AFTER, "answers": AFTER}
STYLE: "dict[RcKeyType, Any]" = {
    "svg.fonttype": "none",  # text stays text: it scales, and takes the page's font
    "svg.hashsalt": "moral_jax",  # equal numbers give an equal file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a name may hold a dollar
}


def svg(draw: Callable[[Axes], None], height: float = 3.6) -> str:
    """Returns what `draw` puts on empty axes, as SVG. `height` is in inches; the width is 5.2 inches."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set_axisbelow(True)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text


def short(words: str, most: int = 34) -> str:
    """Returns words that fit beside a picture, cut at their end."""
    return words if len(words) <= most else words[: most - 1] + "…"


def legend_below(axes: Axes, columns: int) -> None:
    """Puts the legend below the whole figure."""
    figure = axes.get_figure()
    assert figure is not None, "it has just been made"
    figure.legend(fontsize=8, loc="outside lower center", ncols=columns)


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    kernel = np.ones(width) / width
    return np.convolve(values, kernel, mode="valid")


def curves(source: Source) -> str | None:
    """Draws the training loss and the validation loss by step; returns None if the log has no training step."""
    train = [(r["step"], r["loss"]) for r in source.trace if r["kind"] == "train"]
    validation = [(r["step"], r["loss"]) for r in source.trace if r["kind"] == "validation"]
    if not train:
        return None

    def draw(axes: Axes) -> None:
        steps, losses = map(np.array, zip(*train, strict=True))
        axes.plot(steps, losses, color=BEFORE, linewidth=0.8, alpha=0.6, label="each step")
        width = max(1, len(losses) // 20)
        if width > 1:
            axes.plot(steps[width - 1 :], _smooth(losses, width), color=AFTER, label=f"mean of {width} steps")
        if validation:
            axes.plot(*zip(*validation, strict=True), "o-", color=MARK, markersize=5, label="validation")
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss (nats)")
        axes.legend()

    return svg(draw)


def lines(source: Source, names: tuple[str, ...], kind: str = "train") -> str | None:
    """Draws numbers of the log's lines of a kind by step, smoothed; returns None if these have none of them."""
    train = [r for r in source.trace if r["kind"] == kind]
    known = [name for name in names if train and all(name in r for r in train)]
    if not known:
        return None

    def draw(axes: Axes) -> None:
        width = max(1, len(train) // 20)
        steps = np.array([r["step"] for r in train])[width - 1 :]
        for colour, name in zip(SERIES, known, strict=False):
            values = _smooth(np.array([r[name] for r in train]), width)
            axes.plot(steps, values, color=colour, label=name.replace("_", " "))
        axes.set_xlabel("optimizer step")
        axes.legend()

    return svg(draw)


def reliability(source: Source) -> str:
    """Draws the mean human share by predicted share; a calibrated model lies on the diagonal."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", label="as predicted")
        for stage in source.stages:
            bins = stage.numbers["reliability"]
            size = [max(12, 160 * b["pairs"] / sum(x["pairs"] for x in bins)) for b in bins]
            x, y = [b["predicted"] for b in bins], [b["human"] for b in bins]
            axes.plot(x, y, color=COLOURS[stage.name], linewidth=1)
            axes.scatter(x, y, s=size, color=COLOURS[stage.name], label=stage.name)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted share", ylabel="share of the votes (mean)")
        axes.legend()

    return svg(draw)


def _pairs(stage: Stage) -> Iterator[tuple[float, float]]:
    for r in stage.records:
        total = sum(r["counts"])
        yield from ((c / total, p) for c, p in zip(r["counts"], r["probabilities"], strict=True))


def shares(source: Source) -> str:
    """Draws predicted against human share: a dot for each option of each question, and means by human share."""

    def draw(axes: Axes) -> None:
        rng = np.random.default_rng(0)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
        for stage in source.stages:
            human, predicted = np.array(list(_pairs(stage))).T
            jitter = rng.uniform(-0.012, 0.012, len(human))
            colour = COLOURS[stage.name]
            axes.scatter(human + jitter, predicted, s=6, alpha=0.35, color=colour, linewidths=0, rasterized=False)
            level = np.round(human * 10) / 10
            levels = np.unique(level)
            means = [predicted[level == x].mean() for x in levels]
            axes.plot(levels, means, "o-", color=colour, markersize=4, label=stage.name)
        axes.set(xlim=(-0.03, 1.03), ylim=(0, 1), xlabel="share of the votes", ylabel="predicted share")
        axes.legend(title="mean")

    return svg(draw)


def order_bias(source: Source) -> str | None:
    """Draws a histogram of order sensitivity; returns None if each question was asked in one order only."""
    if max(len(r["orders"]) for r in source.last.records) < 2:
        return None

    def draw(axes: Axes) -> None:
        values = [[r["order_sensitivity"] for r in s.records] for s in source.stages]
        top = max(max(v) for v in values) or 1e-6
        bins = np.linspace(0, top, 25).tolist()
        for stage, v in zip(source.stages, values, strict=True):
            colour = COLOURS[stage.name]
            axes.hist(v, bins=bins, histtype="stepfilled", alpha=0.3, color=colour)
            axes.hist(v, bins=bins, histtype="step", color=colour, linewidth=1.2, label=stage.name)
        axes.set(xlabel="total variation between an order and the average", ylabel="questions")
        axes.legend()

    return svg(draw)
