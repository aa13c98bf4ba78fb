"""Writes the page of a simulation: challenges as distances above `static`, beside yardsticks, and trajectories."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from moral_jax.report import blocks, plots
from moral_jax.report.blocks import Block
from moral_jax.report.page import Written
from moral_jax.report.words import Table, interval, number, side

Numbers = Mapping[str, Any]
CENTRED, PUBLISHED, STATIC = "centred", "published", "static"
SMALL = 5e-4  # as far as pages print
LEARNED = 0.95  # cosine with what was taught from which on a lesson counts as learned
MOST_ENTRIES = 5  # of a vector in a picture: those in which people move most
HEADINGS = {"follow": "Follow", "predict": "Predict", "coevolve": "Coevolve"}
WHAT = {
    "follow": "The mean cosine of the examinee's vector of values and that of people of the same time.",
    "predict": "The mean cosine of the examinee's vector and that of people {ahead} ahead.",
    "coevolve": "People are a proxy, which learns an epoch what its own time says and two what the examinee says; the "
    "mean, over proxies and times, of its highest cosine with what people were then or later without the examinee.",
}


def _signed(e: Numbers | None) -> str:
    """Formats a difference with its sign and interval."""
    if e is None:
        return ""
    said = [f"{round(e[key], 3) + 0.0:+.3f}" for key in ("value", "low", "high") if key in e]  # no -0.000
    return f"{said[0]} [{said[1]}, {said[2]}]" if "low" in e else said[0]


def _scores(of: Numbers) -> Table:
    """Returns a line for each algorithm and each yardstick."""
    header = ["", "distance above static", "centred vector", "published vector"]
    rows = []
    for name in [*of["algorithms"], *of["yardsticks"]]:
        cell = of["cells"][name]
        rows.append([name, _signed(cell.get("above")), interval(cell[CENTRED]), interval(cell[PUBLISHED])])
    return Table(header, rows)


def _by_step(of: Numbers, distance: str) -> str | None:
    """Draws the centred cosine of every step."""
    lengths = [len(own) for own in of["by step"].values()]
    if max(lengths) < 2:
        return None

    def draw(axes: Axes) -> None:
        for i, (name, own) in enumerate(of["by step"].items()):
            colour, steps = plots.SERIES[i % len(plots.SERIES)], np.arange(len(own))
            axes.plot(steps, [e["value"] for e in own], "o-", color=colour, markersize=4, label=name)
            if all("low" in e for e in own):
                low, high = ([e[end] for e in own] for end in ("low", "high"))
                axes.fill_between(steps, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.set_xlabel("step")
        axes.set_ylabel(f"cosine with people{distance}")
        axes.set_xticks(np.arange(max(lengths)))
        plots.legend_below(axes, 4)

    return plots.svg(draw)


def _most_moved(found: Numbers) -> list[int]:
    """Returns the entries in which people move most, by the centred vector."""
    path_TV = np.array(found["trajectories"]["people"][CENTRED])
    return np.argsort(-np.ptp(path_TV, axis=0), kind="stable")[:MOST_ENTRIES].tolist()


def _trajectory(found: Numbers, path: Numbers, column: str) -> str:
    """Draws the entries in which people move most: people as lines, the examinee or proxy as marks."""
    people, own = (np.array(one[column]) for one in (found["trajectories"]["people"], path))

    def draw(axes: Axes) -> None:
        for i, entry in enumerate(_most_moved(found)):
            colour, name = plots.SERIES[i], plots.short(found["entries"][entry], 24)
            axes.plot(np.arange(len(people)), people[:, entry], color=colour, linewidth=1, alpha=0.7, label=name)
            axes.plot(np.arange(len(own)), own[:, entry], "o--", color=colour, markersize=4, linewidth=0.8)
        axes.set_xticks(np.arange(len(people)))
        axes.set_xlabel("century")
        axes.set_ylabel(f"{column} entry")
        plots.legend_below(axes, 3)

    return plots.svg(draw)


def _vectors(found: Numbers, paths: Mapping[str, Numbers], column: str) -> Table:
    """Returns every entry: people in the first century and at the last step, and everybody at the last step."""
    people = found["trajectories"]["people"][column]
    last = max(len(path[column]) for path in paths.values()) - 1
    header = ["", "people, century 0", f"people, century {last}", *(f"{name}, step {last}" for name in paths)]
    rows = []
    for i, entry in enumerate(found["entries"]):
        shown = [people[0][i], people[last][i], *(path[column][-1][i] for path in paths.values())]
        rows.append([entry, *map(number, shown)])
    return Table(header, rows)


def _sentence(title: str, name: str, of: Numbers) -> str:
    """Says how far an algorithm is above static, and whether that can be told from 0."""
    cell = of["cells"][name]
    above = cell["above"]
    told = {1: " above static", -1: ", below static", 0: " to static, which it cannot be told from"}[side(above)]
    if "low" not in above:
        told = " to static, of too few rows for an interval"
    return f"{title}: {name} has {interval(cell[CENTRED])}, {_signed(above)}{told}."


def _verdict(found: Numbers, about: Numbers) -> list[str]:
    """Says what the numbers hold, and no more."""
    said, first = [], next(iter(found["challenges"].values()))
    for kind, of_kind in found["challenges"].items():
        suffix = f", {kind}" if len(found["challenges"]) > 1 else ""
        for challenge, of in of_kind.items():
            title, others = HEADINGS[challenge] + suffix, [name for name in of["algorithms"] if name != STATIC]
            if of_kind is not first:
                above = ", ".join(f"{name} is {_signed(of['cells'][name]['above'])}" for name in others)
                said += [f"{title}: {above} above static."] if above else []
                continue
            said += [_sentence(title, name, of) for name in others]
            for names, e in of["pairs"].items():
                after, before = names.split(" - ")
                told = {1: "above", -1: "below", 0: "not to be told from"}[side(e)]
                said.append(f"{title}: {after} is {told} {before}: {_signed(e)}.")
    said += _outside(found)
    said += [_first_lesson(found["first lesson"]), *_saturated(found)]
    said.append(
        "One path of people and one seed of training: what another would change is in no interval. Intervals are over "
        "resampled rows."
    )
    if len(found["rows"]) == 1:
        said.append(
            "Everybody is asked the rows that were taught: these numbers say how fast what is taught is taken over, "
            "not whether it carries over to other rows (--hold-out=0.25 keeps some back)."
        )
    if about["sample"]:
        said.append("The rows are a sample written for this project, not those of the paper.")
    return said


def _outside(found: Numbers) -> list[str]:
    """Warns of scores that lie outside their intervals."""
    of_all = next(iter(found["challenges"].values()))
    cells = [of["cells"][name][CENTRED] for of in of_all.values() for name in of["algorithms"]]
    if all(e.get("low", e["value"]) - SMALL <= e["value"] <= e.get("high", e["value"]) + SMALL for e in cells):
        return []
    return [
        "Some scores lie outside their intervals: much of what is said cancels over the rows as they are, such as a "
        "leaning to the first action where actions are in mirrored places, and no longer does on resampled rows."
    ]


def _first_lesson(cosine: float) -> str:
    """Says whether the first century was learned, which `static` rests on."""
    what = "with the first century, on what it was taught"
    lead = f"After its first lesson the examinee has a cosine of {number(cosine)} {what}"
    if cosine >= LEARNED:
        return f"{lead}."
    return (
        f"{lead}: what is above static may be longer training. --algorithm=repeat says how much is (docs/progress.md)."
    )


def _saturated(found: Numbers) -> list[str]:
    """Says what the published vector hides."""
    of = next(iter(next(iter(found["challenges"].values())).values()))
    own = [of["cells"][name][PUBLISHED]["value"] for name in of["algorithms"]]
    if "uniform" not in of["cells"]:
        return []
    null = of["cells"]["uniform"][PUBLISHED]["value"]
    return [
        f"By the published vector all algorithms have {number(min(own))} to {number(max(own))}, and uniform, who says "
        f"the same to everything, has {number(null)}: its entries have offsets in common."
    ]


def _of_challenge(found: Numbers, challenge: str, ahead: str) -> list[Block]:
    out = []
    for kind, of_kind in found["challenges"].items():
        of = of_kind[challenge]
        heading = HEADINGS[challenge] + (f": {kind}" if len(found["challenges"]) > 1 else "")
        caption = f"The cosine of the centred vectors at each step. Bands are 95 % intervals over {kind}."
        distance = f" {ahead} ahead" if challenge == "predict" else ""
        note = (
            f"{WHAT[challenge].format(ahead=ahead)} Step 0, at which everybody has learned the first century, is not "
            f"scored{'' if challenge != 'coevolve' else ', but its proxy is'}. Brackets are 95 % intervals over "
            f"{found['rows'][kind]} rows, resampled alike for all. Lines below the algorithms are yardsticks."
        )
        out.append(Block(heading, _scores(of), note, ((_by_step(of, distance), caption),)))
    return out


def _trajectories(found: Numbers) -> list[Block]:
    """Returns pictures and tables of the vectors themselves."""
    whose = {"alone": "", "together": "People's proxy beside: ", "influencers": "Coevolve, the examinee: "}
    out = []
    for walk, lead in whose.items():
        paths = found["trajectories"][walk]
        if not paths:
            continue
        pictures = tuple(
            (_trajectory(found, path, CENTRED), f"{name}: dashed, beside people as they are (lines). The "
             f"{MOST_ENTRIES} entries in which people move most.")
            for name, path in paths.items()
        )  # fmt: skip
        out.append(Block(f"{lead}Trajectories, centred vector", _vectors(found, paths, CENTRED), pictures=pictures,
                         note="0 is who says the same to everything.", is_open=False))  # fmt: skip
        pictures = tuple((_trajectory(found, path, PUBLISHED), name) for name, path in paths.items())
        out.append(Block(f"{lead}Trajectories, published vector", _vectors(found, paths, PUBLISHED), pictures=pictures,
                         is_open=False))  # fmt: skip
    return out


def _subtitle(about: Numbers) -> str:
    people = f"people: {len(about['people'])} centuries"
    people += f", planted, drift {about['drift']}, seed {about['seed']}" if "drift" in about else ""
    parts = [
        f"{about['task']}, {about['questions']} questions",
        people,
        f"examinee: {about['examinee']}, learns {about['objective']}",
        f"order {about['order']}, {about['ahead']} ahead",
        "arXiv:2406.20087",
    ]
    return " · ".join(parts)


def write(folder: Path, found: Numbers, about: Numbers) -> Written:
    """Writes report.html and report.md into a folder.

    Args:
      found: as `analysis.trajectories.count` returns it.
      about: what is simulated; "sample" is true if the rows are the project's own.
    """
    first = next(iter(found["challenges"].values()))
    ahead = "a step" if about["ahead"] == 1 else f"{about['ahead']} steps"
    parts: Sequence[Block] = [block for name in first for block in _of_challenge(found, name, ahead)]
    printed = [(HEADINGS[name], _scores(of)) for name, of in first.items()]
    verdict = _verdict(found, about)
    return blocks.write(folder, about["title"], _subtitle(about), verdict, [*parts, *_trajectories(found)], printed)
