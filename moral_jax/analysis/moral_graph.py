"""The numbers of a moral graph: rankings with intervals and a permutation band, winners by context, voters who weigh.

Intervals are percentiles over resampled voters. The band is what comes out where each voter's answers are shuffled over
the questions that they were asked (`graph.shuffled`): a card outside it was put there by what was said of it. With k
2.5 % of R + 1, it goes from the k-th lowest to the k-th highest of R shuffles, so that of votes without meaning at most
5 % are outside, however few the shuffles; with fewer than 39 none is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from moral_jax.analysis import graph
from moral_jax.analysis.bootstrap import SMALLEST, Resampling
from moral_jax.analysis.graph import Ballots, Edges, Keep, Rankings
from moral_jax.runs.graph import Card, Vote
from moral_jax.runtime import console

INTERVAL, TAIL = (2.5, 97.5), 0.025
ROUNDING = 1e-9
MOST_VOTERS = 10  # whose absence moves most, that are listed
KINDS = ("pagerank", "incoming")
Numbers = dict[str, Any]


def _ends(drawn_RC: np.ndarray) -> list[dict[str, float]]:
    low_C, high_C = np.percentile(drawn_RC, INTERVAL, axis=0)
    return [{"low": float(low), "high": float(high)} for low, high in zip(low_C, high_C, strict=True)]


def _band(drawn_RC: np.ndarray, values_C: np.ndarray) -> list[Numbers]:
    """Returns the band of each card, and whether its value is outside."""
    k, sorted_RC = int(TAIL * (len(drawn_RC) + 1)), np.sort(drawn_RC, axis=0)
    low_C, high_C = sorted_RC[max(k - 1, 0)], sorted_RC[-max(k, 1)]
    outside_C = (k > 0) & ((values_C < low_C - ROUNDING) | (values_C > high_C + ROUNDING))
    return [
        {"band": {"low": float(low), "high": float(high)}, "outside": bool(outside)}
        for low, high, outside in zip(low_C, high_C, outside_C, strict=True)
    ]


def _drawn(b: Ballots, keep: Keep, count: int, seed: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns both rankings with shuffled answers, and with resampled voters, [R, 2, C] each."""
    rng, of_shuffled, of_voters = np.random.default_rng((seed, 1)), [], []
    bar = console.progress(total=2 * count, desc=f"{what}: shuffles and resamples", delay=3, leave=False)
    with bar:
        for _ in range(count):
            other = graph.shuffled(b, rng)
            of_shuffled.append(graph.rankings(other, graph.edges(other, keep))[:2])
            bar.update()
        for w_RV in Resampling(len(b.voters), count, seed).weights():
            for w_V in w_RV:
                of_voters.append(graph.rankings(b, graph.edges(b, keep, w_V))[:2])
                bar.update()
    return np.array(of_shuffled), np.array(of_voters)


def _ranked(
    b: Ballots, own: Rankings, cards: Sequence[Card], keep: Keep, shuffles: np.ndarray, voters: np.ndarray
) -> dict[str, Numbers]:
    """Returns card -> kind -> value, interval, band, what the longer card gives, and whether it is outside the band."""
    longer = graph.by_length(b, cards)
    of_longer = graph.rankings(longer, graph.edges(longer, keep))
    out: dict[str, Numbers] = {card.id: {"dropped": float(own.dropped[i])} for i, card in enumerate(cards)}
    for k, kind in enumerate(KINDS):
        bands, ends = _band(shuffles[:, k], own[k]), _ends(voters[:, k])
        for i, card in enumerate(cards):
            value = float(own[k][i])
            cell: Numbers = {"value": value} | (ends[i] if len(b.voters) >= SMALLEST else {})
            out[card.id][kind] = cell | bands[i] | {"longer card": float(of_longer[k][i])}
    return out


def _edges(b: Ballots, found: Edges, cards: Sequence[Card], votes: Sequence[Vote]) -> Iterator[Numbers]:
    """Yields what is counted of each pair, those with the highest likelihood first."""
    contexts: dict[tuple[str, str], dict[str, None]] = {}
    for vote in votes:
        contexts.setdefault((vote.source, vote.target), {}).update(dict.fromkeys(vote.contexts))
    for i in np.lexsort((np.arange(len(b.pairs)), -found.wiser, -found.likelihood)):
        source, target = (cards[place].id for place in b.pairs[i])
        counted = {name: float(of_P[i]) for name, of_P in zip(Edges._fields, found, strict=True) if name != "is_kept"}
        where = {"contexts": list(contexts[source, target])}
        yield {"from": source, "to": target} | counted | {"kept": bool(found.is_kept[i])} | where


def _contexts(votes: Sequence[Vote], cards: Sequence[Card], keep: Keep, count: int, seed: int) -> dict[str, Numbers]:
    """Returns the winner of each context's own graph, and how often it wins where voters are resampled."""
    out = {}
    for context, own in graph.of_context(votes).items():
        b = graph.ballots(own, cards)
        found = graph.edges(b, keep)
        ranked = graph.rankings(b, found)
        won = graph.winners(b, found, ranked)
        said: Numbers = {"votes": len(own), "voters": len(b.voters), "kept": int(found.is_kept.sum())}
        said |= {"winners": [cards[i].id for i in won], "edges": list(_edges(b, found, cards, own))}
        if won:
            said["pagerank"] = float(ranked.pagerank[won[0]])
            said["incoming"] = [cards[i].id for i in _best(ranked.incoming)]
        if won and len(b.voters) >= SMALLEST:
            draws = Resampling(len(b.voters), count, seed)
            again = [_winners_of(b, keep, w_V) for w_RV in draws.weights() for w_V in w_RV]
            said["wins"] = float(np.mean([set(one) == set(won) for one in again]))
        out[context] = said
    return out


def _best(values_C: np.ndarray) -> list[int]:
    return np.flatnonzero(values_C >= values_C.max() - ROUNDING).tolist()


def _winners_of(b: Ballots, keep: Keep, weights_V: np.ndarray) -> list[int]:
    found = graph.edges(b, keep, weights_V)
    return graph.winners(b, found, graph.rankings(b, found))


def _without(b: Ballots, own: Rankings, cards: Sequence[Card], keep: Keep, left_out: Sequence[str]) -> Numbers:
    """Returns how far each card moves where some voters are left out."""
    w_V = np.array([name not in left_out for name in b.voters], float)
    other = graph.rankings(b, graph.edges(b, keep, w_V))
    moved = {kind: other[k] - own[k] for k, kind in enumerate(KINDS)}
    most = int(np.argmax(np.abs(moved["pagerank"])))
    return {
        "voters": list(left_out),
        "moved": float(np.abs(moved["pagerank"]).sum() / 2),  # total variation of PageRank
        "most": cards[most].id,
        "by": float(moved["pagerank"][most]),
        "cards": {c.id: {kind: float(moved[kind][i]) for kind in KINDS} for i, c in enumerate(cards)},
    }


def count(
    votes: Sequence[Vote], cards: Sequence[Card], keep: Keep, resamples: int, without: Sequence[str] = (),
    what: str = "votes", seed: int = 0,
) -> Numbers:  # fmt: skip
    """Returns the numbers of one electorate's graph. JSON.

    Args:
      resamples: of voters, and of shuffles.
      without: voters that are left out together, to see how far that moves the cards.
      what: names the electorate in progress bars.

    Returns:
      "order" (ids by PageRank) and "order by incoming", "rankings": card -> kind -> value, low, high, band, outside,
      longer card; "edges"; "contexts": context -> winners; "without" and "voters", by how far their absence moves
      PageRank; "both ways".
    """
    b = graph.ballots(votes, cards)
    found = graph.edges(b, keep)
    own = graph.rankings(b, found)
    shuffles, voters = _drawn(b, keep, resamples, seed, what)
    each = console.progress(b.voters, desc=f"{what}: without each voter", delay=3, leave=False)
    one_by_one = [_without(b, own, cards, keep, [name]) for name in each] if len(b.voters) > 1 else []
    one_by_one = [{k: v for k, v in one.items() if k != "cards"} for one in one_by_one]
    return {
        "cards": len(cards),
        "votes": len(votes),
        "voter count": len(b.voters),
        "kept": int(found.is_kept.sum()),
        "most": {"wiser": float(found.wiser.max()), "likelihood": float(found.likelihood.max())},
        "order": [cards[i].id for i in _order(own.pagerank)],
        "order by incoming": [cards[i].id for i in _order(own.incoming)],
        "rankings": _ranked(b, own, cards, keep, shuffles, voters),
        "edges": list(_edges(b, found, cards, votes)),
        "contexts": _contexts(votes, cards, keep, resamples, seed),
        "without": _without(b, own, cards, keep, without) if without else None,
        "voters": sorted(one_by_one, key=lambda one: -one["moved"])[:MOST_VOTERS],
        "both ways": graph.both_ways(votes),
    }


def _order(values_C: np.ndarray) -> list[int]:
    """Returns places by value, the highest first; those that tie as they come."""
    return np.argsort(-np.round(values_C, 12), kind="stable").tolist()


def agreement(one: Mapping[str, Numbers], other: Mapping[str, Numbers]) -> float | None:
    """Returns Kendall's tau-b of two electorates' PageRank; None where one ranks all cards alike."""
    pairs = [(one[card]["pagerank"]["value"], other[card]["pagerank"]["value"]) for card in one]
    tau = stats.kendalltau(*np.round(np.array(pairs).T, 12)).statistic
    return float(tau) if np.isfinite(tau) else None
