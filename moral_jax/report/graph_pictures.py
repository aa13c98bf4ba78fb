"""Draws a moral graph, and its rankings on their bands of shuffled votes."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from moral_jax.report import plots

MOST_DRAWN, MOST_NAMED, MOST_LINES = 40, 12, 26  # cards of a graph, those of one with titles, lines of a ranking
BAND = "shuffled votes"
Numbers = Mapping[str, Any]


def drawn(found: Numbers, titles: Mapping[str, str]) -> str | None:
    """Draws the kept edges: arrows go to the wiser card, areas are PageRank, numbers are places by it."""
    top = found["order"][:MOST_DRAWN]
    kept = [e for e in found["edges"] if e["kept"] and e["from"] in top and e["to"] in top]
    if not kept:
        return None
    shown = [card for card in top if any(card in (e["from"], e["to"]) for e in kept)]
    import networkx  # of the extra `values`

    graph = networkx.DiGraph()
    graph.add_nodes_from(shown)
    graph.add_weighted_edges_from((e["from"], e["to"], e["likelihood"]) for e in kept)
    near = dict(networkx.all_pairs_shortest_path_length(graph.to_undirected()))
    apart = 1 + math.sqrt(len(shown)) / 2  # of cards that no path joins, so that parts lie side by side
    steps = {a: {b: near[a].get(b, apart) for b in shown} for a in shown}
    places = networkx.kamada_kawai_layout(graph, dist=steps)
    most = max(found["rankings"][card]["pagerank"]["value"] for card in shown)

    def draw(axes: Axes) -> None:
        size = {c: 80 + 620 * found["rankings"][c]["pagerank"]["value"] / most for c in shown}
        for e in kept:
            shrink = [math.sqrt(size[e[end]]) / 2 + 1 for end in ("from", "to")]
            arrow = {"arrowstyle": "-|>", "color": plots.INK, "alpha": 0.25 + 0.6 * e["likelihood"], "linewidth": 1,
                     "shrinkA": shrink[0], "shrinkB": shrink[1], "connectionstyle": "arc3,rad=0.08"}  # fmt: skip
            axes.annotate("", places[e["to"]], places[e["from"]], arrowprops=arrow)
        for card in shown:
            x, y = places[card]
            outside = found["rankings"][card]["pagerank"]["outside"]
            colour = plots.AFTER if outside else plots.BEFORE
            axes.scatter([x], [y], s=size[card], color=colour, alpha=0.3, edgecolors="none")
            axes.scatter([x], [y], s=size[card], facecolors="none", edgecolors=colour, linewidths=1.2)
            axes.annotate(str(found["order"].index(card) + 1), (x, y), ha="center", va="center", fontsize=7)
            if len(shown) <= MOST_NAMED:
                below = (0, -math.sqrt(size[card]) / 2 - 3)
                axes.annotate(plots.short(titles[card], 24), (x, y), below, textcoords="offset points", ha="center",
                              va="top", fontsize=7)  # fmt: skip
        axes.margins(0.16)
        axes.set_axis_off()

    return plots.svg(draw, height=3.8 if len(shown) <= MOST_NAMED else 5.2)


def banded(found: Numbers, titles: Mapping[str, str], kind: str, label: str) -> str | None:
    """Draws values with intervals over voters, each on its band of shuffled votes."""
    cards = found["order" if kind == "pagerank" else "order by incoming"][:MOST_LINES]
    if not found["kept"]:
        return None

    def draw(axes: Axes) -> None:
        cells = [found["rankings"][card][kind] for card in cards]
        y = [-i for i in range(len(cards))]
        low, high = (np.array([cell["band"][end] for cell in cells]) for end in ("low", "high"))
        axes.barh(y, high - low, left=low, height=0.62, color=plots.BEFORE, alpha=0.35, label=BAND)
        ends = [[max(c["value"] - c.get("low", c["value"]), 0), max(c.get("high", c["value"]) - c["value"], 0)]
                for c in cells]  # fmt: skip
        axes.errorbar([c["value"] for c in cells], y, xerr=np.array(ends).T, fmt="o", color=plots.AFTER, markersize=4,
                      elinewidth=1.2, label="votes")  # fmt: skip
        left, right = axes.get_xlim()
        longer = [c["longer card"] for c in cells]
        axes.plot(longer, y, "x", color=plots.MARK, markersize=4, label="longer card")
        axes.set_xlim(left - (right - left) / 4, right + (right - left) / 4)  # marks that are far away are left out
        axes.set_yticks(y, [plots.short(titles[card]) for card in cards], fontsize=8)
        axes.set_xlabel(label)
        plots.legend_below(axes, 3)

    return plots.svg(draw, height=1.5 + 0.24 * len(cards))
