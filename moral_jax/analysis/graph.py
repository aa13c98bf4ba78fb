"""A moral graph: votes on which of two values is wiser become edges, and edges a ranking (arXiv 2404.10636).

Of the votes on going from card a to card b, W say wiser, N not wiser, U unsure; L say wiser of the way back. Then

    likelihood = (W - L) / (W + N + U + L),

and an edge is kept if W, the likelihood and the entropy of (W, N, U, L) are within `Keep`. A card's wisdom is its
PageRank over the kept edges, weighted by likelihood, with damping d = 0.85; beside it stands the sum of the likelihoods
that come in. With A the flow between C cards, each column divided by its sum, PageRank is x / sum(x) of

    x = (1 - d) / C + d A x,

as the mass of cards without a way out goes to all alike. The original's TypeScript drops that mass, so it has x itself.
Its entropy counts all impressions as a fifth answer, so that a unanimous edge has one bit. Both are computed, for
comparison. Answers are shares, so that a simulated voter votes with its probabilities; of a person one share is 1.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import entr

from moral_jax.runs.graph import ANSWERS, Card, Vote

DAMPING = 0.85
Pair = tuple[int, int]


class Keep(NamedTuple):
    """Which edges are kept."""

    wiser: float = 2.0  # least W
    likelihood: float = 0.33  # least
    entropy: float = 1.5  # most, in bits; of four answers at most 2


class Edges(NamedTuple):
    """What is counted of ordered pairs, [P] each."""

    wiser: np.ndarray
    not_wiser: np.ndarray
    unsure: np.ndarray
    back: np.ndarray
    impressions: np.ndarray  # votes in either direction
    likelihood: np.ndarray
    entropy: np.ndarray  # bits, of the four answers
    published_entropy: np.ndarray  # bits, with impressions as a fifth answer
    is_kept: np.ndarray


class Rankings(NamedTuple):
    """Numbers of each card, [C] each."""

    pagerank: np.ndarray
    incoming: np.ndarray  # sum of the likelihoods of kept edges that come in
    dropped: np.ndarray  # PageRank without the mass of cards that have no way out; sums to less than 1


@dataclasses.dataclass(frozen=True)
class Ballots:
    """Votes as arrays: N votes of V voters on P ordered pairs of C cards."""

    cards: int
    voters: tuple[str, ...]
    pairs: tuple[Pair, ...]
    voter_N: np.ndarray
    pair_N: np.ndarray
    shares_N3: np.ndarray
    back_P: np.ndarray  # the place of the pair turned round; P where nobody was asked about it

    def having(self, shares_N3: np.ndarray) -> "Ballots":
        """Returns the same questions and voters with other answers."""
        return dataclasses.replace(self, shares_N3=shares_N3)


def ballots(votes: Sequence[Vote], cards: Sequence[Card]) -> Ballots:
    """Returns votes as arrays."""
    place = {card.id: i for i, card in enumerate(cards)}
    voters = {name: i for i, name in enumerate(dict.fromkeys(vote.voter for vote in votes))}
    of_vote = [(place[vote.source], place[vote.target]) for vote in votes]
    pairs = {pair: i for i, pair in enumerate(dict.fromkeys(of_vote))}
    return Ballots(
        len(cards),
        tuple(voters),
        tuple(pairs),
        np.array([voters[vote.voter] for vote in votes], int),
        np.array([pairs[pair] for pair in of_vote], int),
        np.array([vote.shares for vote in votes], float).reshape(-1, len(ANSWERS)),
        np.array([pairs.get((b, a), len(pairs)) for a, b in pairs], int),
    )


def _bits(counts_PK: np.ndarray) -> np.ndarray:
    """Returns the entropy of each row's shares, in bits; 0 where nothing was counted."""
    total_P1 = counts_PK.sum(1, keepdims=True)
    return entr(np.divide(counts_PK, total_P1, out=np.zeros_like(counts_PK), where=total_P1 > 0)).sum(1) / np.log(2)


def edges(b: Ballots, keep: Keep, weights_V: np.ndarray | None = None) -> Edges:
    """Returns what is counted of every pair.

    Args:
      weights_V: how often each voter counts; default: once.
    """
    weight_N = np.ones(len(b.pair_N)) if weights_V is None else weights_V[b.voter_N]
    counts_P3 = np.stack(
        [np.bincount(b.pair_N, weight_N * of_N, minlength=len(b.pairs)) for of_N in b.shares_N3.T], axis=1
    )
    with_none = np.vstack([counts_P3, np.zeros(len(ANSWERS))])
    wiser, not_wiser, unsure = counts_P3.T
    back = with_none[b.back_P, 0]
    counts_P4 = np.stack([wiser, not_wiser, unsure, back], axis=1)
    total = counts_P4.sum(1)
    likelihood = np.divide(wiser - back, total, out=np.zeros_like(total), where=total > 0)
    impressions = counts_P3.sum(1) + with_none[b.back_P].sum(1)
    entropy = _bits(counts_P4)
    tiny = 1e-9  # sums of shares are rounded
    is_kept = (wiser >= keep.wiser - tiny) & (likelihood >= keep.likelihood - tiny) & (entropy <= keep.entropy + tiny)
    published = _bits(np.column_stack([counts_P4, impressions]))
    is_kept &= likelihood > tiny  # a weight
    return Edges(wiser, not_wiser, unsure, back, impressions, likelihood, entropy, published, is_kept)


def rankings(b: Ballots, found: Edges) -> Rankings:
    """Returns the ranking of all cards by the kept edges."""
    sources, targets = np.array(b.pairs, int).reshape(-1, 2)[found.is_kept].T
    flow_CC = np.zeros((b.cards, b.cards))
    flow_CC[targets, sources] = found.likelihood[found.is_kept]
    incoming_C, out_C = flow_CC.sum(1), flow_CC.sum(0)
    flow_CC = np.divide(flow_CC, out_C, out=flow_CC, where=out_C > 0)
    dropped_C = np.linalg.solve(np.eye(b.cards) - DAMPING * flow_CC, np.full(b.cards, (1 - DAMPING) / b.cards))
    return Rankings(dropped_C / dropped_C.sum(), incoming_C, dropped_C)


def shuffled(b: Ballots, rng: np.random.Generator) -> Ballots:
    """Returns the same questions with the answers of each voter in another order.

    So how often a voter says wiser stays, and what they said it of does not. Voters with a single vote are shuffled
    with one another.
    """
    counts_V = np.bincount(b.voter_N, minlength=len(b.voters))
    stratum_N = np.where(counts_V[b.voter_N] > 1, b.voter_N, -1)
    into = np.argsort(stratum_N, kind="stable")
    taken = np.lexsort((rng.random(len(stratum_N)), stratum_N))
    shares_N3 = np.empty_like(b.shares_N3)
    shares_N3[into] = b.shares_N3[taken]
    return b.having(shares_N3)


def by_length(b: Ballots, cards: Sequence[Card]) -> Ballots:
    """Returns the same questions answered by who takes the card of more characters for the wiser one."""
    length_C = np.array([len(card.text) for card in cards])
    pairs_P2 = np.array(b.pairs, int).reshape(-1, 2)
    longer_P = np.sign(length_C[pairs_P2[:, 1]] - length_C[pairs_P2[:, 0]])
    answers_P3 = np.stack([longer_P > 0, longer_P < 0, longer_P == 0], axis=1).astype(float)
    return b.having(answers_P3[b.pair_N])


def of_context(votes: Sequence[Vote]) -> Mapping[str, list[Vote]]:
    """Returns the votes of each context, which is matched exactly."""
    found: dict[str, list[Vote]] = {}
    for vote in votes:
        for context in vote.contexts:
            found.setdefault(context, []).append(vote)
    return found


def winners(b: Ballots, found: Edges, ranked: Rankings) -> list[int]:
    """Returns the cards with the highest PageRank; none where no edge is kept."""
    if not found.is_kept.any():
        return []
    return np.flatnonzero(ranked.pagerank >= ranked.pagerank.max() - 1e-9).tolist()


def both_ways(votes: Sequence[Vote]) -> float | None:
    """Returns the share of "wiser" that the way back has too, by the same voter: 1 of who always says wiser.

    None if no voter was asked both ways.
    """
    said = {(v.voter, v.source, v.target, v.contexts): v.shares[0] for v in votes}
    ways = [(w, said[who, b, a, where]) for (who, a, b, where), w in said.items() if (who, b, a, where) in said]
    total = sum(w for w, _ in ways)
    return sum(w * back for w, back in ways) / total if total else None
