"""Writes the page of a moral graph: rankings beside their band, winners of contexts, the graph, voters who weigh."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moral_jax.report import blocks
from moral_jax.report.blocks import Block
from moral_jax.report.graph_pictures import BAND, MOST_LINES, Numbers, banded, drawn
from moral_jax.report.page import Written
from moral_jax.report.words import Table, interval, number, number_text
from moral_jax.runs.graph import Card

MOST_EDGES = 60  # on the page
KINDS = ("pagerank", "incoming")


def _band(cell: Numbers) -> str:
    return f"{number(cell['band']['low'])} to {number(cell['band']['high'])}"


def _star(cell: Numbers) -> str:
    return interval(dict(cell)) + (" *" if cell["outside"] else "")


def _rankings(found: Numbers, titles: Mapping[str, str]) -> Table:
    """Returns a line a card, by PageRank."""
    header = [
        "", "value", "PageRank", BAND, "longer card", "incoming likelihood", "place by it", BAND, "longer card",
        "dangling mass dropped",
    ]  # fmt: skip
    rows = []
    for place, card in enumerate(found["order"], 1):
        dropped, of_page, of_sum = (found["rankings"][card][k] for k in ("dropped", "pagerank", "incoming"))
        by_sum = str(found["order by incoming"].index(card) + 1)
        rows.append([
            str(place), titles[card], _star(of_page), _band(of_page), number(of_page["longer card"]), _star(of_sum),
            by_sum, _band(of_sum), number(of_sum["longer card"]), number(dropped),
        ])  # fmt: skip
    return Table(header, rows)


def _brief(found: Numbers, titles: Mapping[str, str]) -> Table:
    """Returns both rankings of the first cards, for the terminal."""
    rows = []
    for place, card in enumerate(found["order"][:MOST_LINES], 1):
        of_page, of_sum = (found["rankings"][card][kind] for kind in ("pagerank", "incoming"))
        by_sum = str(found["order by incoming"].index(card) + 1)
        rows.append([str(place), titles[card], _star(of_page), _band(of_page), by_sum, _star(of_sum)])
    return Table(["", "value", "PageRank", BAND, "place by incoming", "incoming likelihood"], rows)


def _winners(found: Numbers, titles: Mapping[str, str]) -> Table:
    header = ["context", "winner", "by incoming likelihood", "edges kept", "votes", "voters", "wins again"]
    rows = []
    for context, of in found["contexts"].items():
        won, by_sum = ([titles[card] for card in of.get(name, [])] for name in ("winners", "incoming"))
        again = f"{of['wins']:.0%}" if "wins" in of else ""
        counts = [str(of[name]) for name in ("kept", "votes", "voters")]
        rows.append([context, " and ".join(won) or "none: no edge is kept", " and ".join(by_sum), *counts, again])
    return Table(header, rows)


def _edges(found: Numbers, titles: Mapping[str, str]) -> Table:
    header = [
        "from",
        "to",
        "wiser",
        "not wiser",
        "unsure",
        "wiser back",
        "likelihood",
        "entropy",
        "as published",
        "kept",
    ]
    rows = []
    for e in found["edges"][:MOST_EDGES]:
        counts = [number_text(round(e[k], 3)) for k in ("wiser", "not_wiser", "unsure", "back")]
        numbers = [number(e[k]) for k in ("likelihood", "entropy", "published_entropy")]
        rows.append([titles[e["from"]], titles[e["to"]], *counts, *numbers, "yes" if e["kept"] else ""])
    return Table(header, rows)


def _said(found: Numbers, titles: Mapping[str, str]) -> list[str]:
    """Says what an electorate's numbers hold, and no more."""
    cards, kept = found["cards"], found["kept"]
    said = [
        f"{found['votes']} votes of {found['voter count']} voters on {cards} cards; {kept} of {len(found['edges'])} "
        f"ordered pairs are kept as edges."
    ]
    if not kept:
        most = found["most"]
        said.append(
            f'No edge is kept, so no card is wiser than another: the most "wiser" votes on a pair are '
            f"{number_text(round(most['wiser'], 3))}, the highest likelihood is {number(most['likelihood'])}."
        )
    else:
        first, first_by_sum = found["order"][0], found["order by incoming"][0]
        cell = found["rankings"][first]["pagerank"]
        where = "outside" if cell["outside"] else "inside"
        said.append(
            f"First by PageRank is {titles[first]}, {interval(cell)}, {where} the band of {BAND} ({_band(cell)})."
        )
        cell = found["rankings"][first_by_sum]["incoming"]
        where = "outside" if cell["outside"] else "inside"
        said.append(
            f"First by the sum of incoming likelihoods is {titles[first_by_sum]}, {interval(cell)}, {where} its band."
        )
        by_rank, by_sum = (sum(of[kind]["outside"] for of in found["rankings"].values()) for kind in KINDS)
        said.append(
            f"Of {cards} cards {by_rank} have a PageRank outside the band, and {by_sum} a sum of incoming likelihoods "
            f"(about {0.05 * cards:.1f} would by chance). Of a card inside it, which pairs were asked explains the "
            f"place as well as what was said of them."
        )
    if found["both ways"] is not None:
        said.append(
            f"Of what was called wiser, {number(found['both ways'])} was called wiser the other way round too, by the "
            f"same voter (1 for who always says so, 0 for who is consistent)."
        )
    return said


def _moved(found: Numbers, titles: Mapping[str, str]) -> Table:
    header = ["without", "PageRank moved (total variation)", "most moved", "by"]
    left_out = [found["without"]] if found["without"] else []
    rows = []
    for one in [*left_out, *found["voters"]]:
        names = ", ".join(one["voters"][:4]) + (f" and {len(one['voters']) - 4} more" if len(one["voters"]) > 4 else "")
        rows.append([names, number(one["moved"]), titles[one["most"]], f"{one['by']:+.3f}"])
    return Table(header, rows)


def _without(found: Numbers, titles: Mapping[str, str]) -> list[Block]:
    """Returns how far every card moves without the voters that --without-voter names."""
    if not found["without"]:
        return []
    moved = found["without"]["cards"]
    rows = [
        [titles[card], *(f"{moved[card][kind]:+.3f}" for kind in ("pagerank", "incoming"))] for card in found["order"]
    ]
    table = Table(["without " + ", ".join(found["without"]["voters"][:4]), "PageRank", "incoming likelihood"], rows)
    return [Block("What the voters left out change", table)]


def _of_electorate(found: Numbers, titles: Mapping[str, str], lead: str) -> list[Block]:
    names = (
        f"Arrows go to the wiser card; a circle's area is PageRank, its number the place by it. Blue: outside the band "
        f"of {BAND}."
    )
    lines = (
        "Lines are 95 % intervals over resampled voters, bars the middle 95 % of shuffled votes; the longer card is "
        "marked where it is near."
    )
    graph, by_rank = drawn(found, titles), banded(found, titles, "pagerank", "PageRank")
    by_sum = banded(found, titles, "incoming", "sum of incoming likelihoods")
    return [
        Block(f"{lead}Winners by context", _winners(found, titles),
              "The card with the highest PageRank in the graph of that context's votes alone. Wins again: the share of "
              "1,000 (--resamples) resamples of voters in which the same card wins."),
        *([Block(f"{lead}The graph", pictures=((graph, names),))] if graph else []),
        Block(f"{lead}Both rankings", _rankings(found, titles), pictures=((by_rank, lines), (by_sum, lines)),
              note=f"A star marks values outside the band of {BAND}: the middle 95 % of what comes out where each "
              f"voter's answers are shuffled over their questions. Longer card: the value if the card of more "
              f"characters were always the wiser one. The last column is PageRank as the original's TypeScript has "
              f"it."),
        *_without(found, titles),
        Block(f"{lead}Voters who weigh most", _moved(found, titles), "How far the ranking moves without a voter."),
        Block(f"{lead}Pairs", _edges(found, titles),
              f"The first {MOST_EDGES} by likelihood, all in graph.json. Likelihood is (wiser - wiser back) / (wiser + "
              f"not wiser + unsure + wiser back); entropy in bits, as published with impressions as a fifth answer.",
              is_open=False),
    ]  # fmt: skip


def write(
    folder: Path, about: Mapping[str, Any], electorates: Mapping[str, Numbers], cards: Sequence[Card],
    agreements: Mapping[str, float | None], prompt: str,
) -> Written:  # fmt: skip
    """Writes report.html and report.md.

    Args:
      about: title, subtitle and "sample", true if the cards and votes are made up.
      electorates: name -> numbers, as `analysis.moral_graph.count` returns them.
      agreements: electorate -> Kendall's tau to the first one.
      prompt: the system prompt of the first electorate's winners.
    """
    titles = {card.id: card.title for card in cards}
    several, verdict, parts = len(electorates) > 1, [], []
    for name, found in electorates.items():
        verdict += [f"{name}: {said}" if several else said for said in _said(found, titles)]
        parts += _of_electorate(found, titles, f"{name}: " if several else "")
    for name, tau in agreements.items():
        said = "ranks all cards alike" if tau is None else f"has Kendall's tau {tau:+.3f} to {next(iter(electorates))}"
        verdict.append(f"{name} {said} by PageRank.")
    if about["sample"]:
        verdict.append("Cards and votes are a sample that was made up for this project: nobody voted.")
    whose = f"{next(iter(electorates))}: the" if several else "The"
    written = Block(f"{whose} winners as a system prompt", text=prompt,
                    note="In system_prompt.txt; as lines of a rubric in rubric.jsonl, as preferences with votes in "
                    "pairs.jsonl, which configs/preferences/dpo.py trains on.")  # fmt: skip
    printed = [
        (name if several and k == 0 else "", table)
        for name, found in electorates.items()
        for k, table in enumerate((_brief(found, titles), _winners(found, titles)))
    ]
    return blocks.write(folder, about["title"], about["subtitle"], verdict, [*parts, written], printed)
