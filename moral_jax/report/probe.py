"""Writes the page of a probe: what each layer holds about a label, and how two models differ."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from moral_jax.report import blocks, plots
from moral_jax.report.blocks import Block
from moral_jax.report.page import Written
from moral_jax.report.probe_words import judged, pair_said, seen_said
from moral_jax.report.words import Table, interval, number

Numbers = Mapping[str, Any]
ACCURACY = (
    "Accuracy of a ridge probe on held-out rows, by layer; 0 is what the first layer reads. Dashed: the same probe on "
    "control labels, random for each word type. Dotted: a probe on words alone; grey: the most frequent label. Bands "
    "are 95 % intervals over groups of rows that share a key."
)
ANSWERS = ("gold", "votes")  # labels that are an option
NOTE = (
    "The layer of the first table is chosen inside each training part, by error. Selectivity is accuracy less control "
    "accuracy (mean of five random labellings; in brackets also what other labellings would add). Shuffled: what "
    "stays below it in 95 of 100 labellings that say nothing, with layers "
    "chosen alike. Without a signal, probes of balanced rows lie a little below chance. Formulas: docs/probe.md."
)


def _curves(axes: Axes, found: Numbers, key: str, style: str = "-", *, band: bool = True, label: str = "{}") -> None:
    """Draws a number of each layer, a line for each respondent that has it."""
    for i, (who, of) in enumerate(found["respondents"].items()):
        own = [(at, layer[key]) for at, layer in enumerate(of["layers"]) if key in layer]
        if not own:
            continue
        x, y = [at for at, _ in own], [e["value"] for _, e in own]
        colour = plots.SERIES[i % len(plots.SERIES)]
        axes.plot(x, y, style, color=colour, linewidth=1.4, label=plots.short(label.format(who)))
        if band and all("low" in e for _, e in own):
            axes.fill_between(x, [e["low"] for _, e in own], [e["high"] for _, e in own], color=colour, alpha=0.15,
                              linewidth=0)  # fmt: skip
    axes.set_xlabel("layer")


def _accuracy(found: Numbers) -> str:
    def draw(axes: Axes) -> None:
        _curves(axes, found, "accuracy")
        _curves(axes, found, "control", "--", band=False, label="{}, control")
        axes.axhline(found["words"]["value"], color=plots.INK, linestyle=":", linewidth=1.2, label="words alone")
        axes.axhline(found["floor"], color=plots.GRID, linewidth=2, label="most frequent")
        axes.set_ylabel("accuracy")
        plots.legend_below(axes, 3)

    return plots.svg(draw, height=4.2)


def _plain(found: Numbers, key: str, name: str) -> str | None:
    """Draws a number of each layer beside 0; None where nobody has it."""
    if not any(key in layer for of in found["respondents"].values() for layer in of["layers"]):
        return None

    def draw(axes: Axes) -> None:
        axes.axhline(0, color=plots.INK, linewidth=0.8, linestyle="--")
        _curves(axes, found, key)
        axes.set_ylabel(name)
        if len(found["respondents"]) > 1:
            plots.legend_below(axes, 3)

    return plots.svg(draw)


def _cka(pair: Numbers) -> str | None:
    own = [(at, layer) for at, layer in enumerate(pair["layers"]) if layer["cka"] is not None]
    if not own:
        return None

    def draw(axes: Axes) -> None:
        x = [at for at, _ in own]
        axes.plot(x, [layer["cka"] for _, layer in own], color=plots.SERIES[0], label="debiased CKA")
        low, high = np.transpose([layer["band"] for _, layer in own])
        axes.fill_between(x, low, high, color=plots.INK, alpha=0.25, linewidth=0, label="rows shuffled, 95 %")
        axes.set(xlabel="layer", ylabel="debiased CKA", ylim=(min(-0.05, float(np.min(low))), 1.05))
        plots.legend_below(axes, 2)

    return plots.svg(draw)


def _directions(pair: Numbers) -> str | None:
    own = [(at, layer["direction"]) for at, layer in enumerate(pair["layers"]) if layer["direction"]]
    if not own:
        return None
    first, other = pair["names"]
    lines = {
        "across": f"{first} and {other}, other rows",
        "within_first": f"{first} with itself, other rows",
        "within_other": f"{other} with itself, other rows",
    }

    def draw(axes: Axes) -> None:
        x = [at for at, _ in own]
        axes.plot(x, [d["cosine"]["value"] for _, d in own], color=plots.INK, linestyle="--", label="the same rows")
        for colour, (key, name) in zip(plots.SERIES, lines.items(), strict=False):
            axes.plot(x, [d[key] for _, d in own], color=colour, label=plots.short(name))
        axes.set(xlabel="layer", ylabel="cosine", ylim=(-1.05, 1.05))
        plots.legend_below(axes, 2)

    return plots.svg(draw, height=4.0)


def _gaps(pair: Numbers) -> str | None:
    own = [(at, layer["direction"]) for at, layer in enumerate(pair["layers"]) if layer["direction"]]
    if not own:
        return None

    def draw(axes: Axes) -> None:
        x = [at for at, _ in own]
        for colour, key, who in zip(plots.SERIES, ("gap_first", "gap_other"), pair["names"], strict=False):
            e = [d[key] for _, d in own]
            axes.plot(x, [v["value"] for v in e], color=colour, label=plots.short(who))
            axes.fill_between(x, [v["low"] for v in e], [v["high"] for v in e], color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel="layer", ylabel="gap between classes (sd)")
        plots.legend_below(axes, 2)

    return plots.svg(draw)


def _layers(numbers: list[int]) -> str:
    return ", ".join(str(n) for n in sorted(set(numbers)))


def _summary(found: Numbers) -> Table:
    header = ["", "layers chosen", "accuracy", "control", "selectivity", "words alone", "more than words",
              "most frequent", "shuffled"]  # fmt: skip
    rows = []
    for who, of in found["respondents"].items():
        c = of["chosen"]
        rows.append([who, _layers(c["layers"]), interval(c["accuracy"]), interval(c.get("control")),
                     interval(c.get("selectivity")), interval(found["words"]), interval(c["above_words"]),
                     number(found["floor"]), number(c["shuffled_95"])])  # fmt: skip
    return Table(header, rows)


def _by_layer(of: Numbers) -> Table:
    columns = {"accuracy": "accuracy", "control": "control", "selectivity": "selectivity",
               "logit_difference": "logit difference", "lens_accuracy": "right, read here"}  # fmt: skip
    known = {key: name for key, name in columns.items() if any(key in layer for layer in of["layers"])}
    rows = [
        [str(at), *(interval(layer.get(key)) for key in known), number(layer["shuffled"])]
        for at, layer in enumerate(of["layers"])
    ]
    return Table(["layer", *known.values(), "shuffled"], rows)


def _pair_table(pair: Numbers) -> Table:
    header = ["layer", "debiased CKA", "rows shuffled", "biased CKA"]
    turned = any(layer["direction"] for layer in pair["layers"])
    first, other = pair["names"]
    if turned:
        header += ["cosine, same rows", "across, other rows", f"within {first}", f"within {other}", "probes' cosine",
                   f"gap {first}", f"gap {other}", "change", "shift"]  # fmt: skip
    rows = []
    for at, layer in enumerate(pair["layers"]):
        name = str(at) if layer["layer_of_other"] == at else f"{at} and {layer['layer_of_other']}"
        if layer["cka"] is None:
            row = [name, "constant", "", ""]
        else:
            low, high = layer["band"]
            row = [name, number(layer["cka"]), f"{number(low)} to {number(high)}", number(layer["cka_biased"])]
        if turned:
            d = layer["direction"]
            row += [""] * 9 if d is None else [
                interval(d["cosine"]), *(number(d[k]) for k in ("across", "within_first", "within_other",
                "probe_cosine")), *(interval(d[k]) for k in ("gap_first", "gap_other", "gap_change", "shift")),
            ]  # fmt: skip
        rows.append(row)
    return Table(header, rows)


def _pair_blocks(pair: Numbers) -> list[Block]:
    first, other = pair["names"]
    alike = "How alike the states lie, by layer; 1 is the same up to a turn and a stretch. Grey: rows shuffled."
    turned = (
        "Cosine of the directions between the means of the two classes. Other rows: directions of two halves of the "
        "groups, mean of 20 divisions; lines across that lie below those within say that the direction has turned."
    )
    gap = f"Held-out states on {first}'s direction: how far its classes lie apart, in its standard deviations."
    pictures = ((_cka(pair), alike), (_directions(pair), turned), (_gaps(pair), gap))
    note = "Shift: how far all states move along the direction, whatever their class."
    head = f"{first} and {other}"
    return [Block(head, pictures=pictures), Block(f"{head}, by layer", _pair_table(pair), note, is_open=False)]


def write(folder: Path, found: Numbers, asked: Numbers, task: Numbers) -> Written:
    """Writes report.html and report.md.

    Args:
      found: as `analysis.probe.count.count` returns it.
      asked: the label, and who was asked.
      task: title, about, paper, licence, attribution and sample of the rows.
    """
    verdict = []
    for who, of in found["respondents"].items():
        verdict += [seen_said(who, of, found, asked["label"]), *judged(who, of, of_answer=asked["label"] in ANSWERS)]
    for pair in found["pairs"]:
        verdict += pair_said(pair, found)
    classes = ", ".join(f"{name} ({count})" for name, count in found["classes"].items())
    verdict.append(
        f"{found['rows']} rows in {found['groups']} groups that share no key; label {asked['label']}: {classes}."
    )
    verdict.append("A probe that finds a label is no proof that the model uses it.")
    if task["sample"]:
        verdict.append("The rows were written for this project.")
    summary = _summary(found)
    lens = "Log-odds of the right option (nats) where the layer's states go through final norm and head at once."
    odds = _plain(found, "logit_difference", "logit difference (nats)")
    beyond = "Selectivity: accuracy less control accuracy."
    pictures = ((_accuracy(found), ACCURACY), (_plain(found, "selectivity", "selectivity"), beyond), (odds, lens))
    parts = [Block("Probes", summary, NOTE, pictures)]
    parts += [Block(f"{who}, by layer", _by_layer(of), is_open=False) for who, of in found["respondents"].items()]
    for pair in found["pairs"]:
        parts += _pair_blocks(pair)
    about = [task[key] for key in ("about", "paper", "licence", "attribution")]
    title = f"{task['title'] or folder.resolve().name}: what the layers hold"
    return blocks.write(folder, title, " · ".join(x for x in about if x), verdict, parts, [("", summary)])
