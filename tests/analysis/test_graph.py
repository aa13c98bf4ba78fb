"""The mathematics of moral graphs: against networkx, by brute force, and what must hold of any votes."""

import networkx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moral_jax.analysis import graph, moral_graph
from moral_jax.analysis.graph import Keep
from moral_jax.runs.graph import Card, Vote

CARDS = [Card(name, f"Value {name}", (f"SIGNS of {name}",)) for name in "abcdef"]
ONE_HOT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
LOOSE = Keep(1.0, 0.1, 2.0)

# a machine that does other work too is slow now and then
quietly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def votes(draw):
    """Draws votes of up to five voters on any pairs."""
    pair = st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")).filter(lambda p: p[0] != p[1])
    drawn = draw(st.lists(st.tuples(st.integers(0, 4), pair, st.sampled_from(ONE_HOT)), min_size=1, max_size=40))
    return [Vote(f"v{voter}", a, b, ("here",), shares) for voter, (a, b), shares in drawn]


def ranked(said, keep=LOOSE):
    b = graph.ballots(said, CARDS)
    found = graph.edges(b, keep)
    return b, found, graph.rankings(b, found)


@quietly
@given(votes())
def test_pagerank_is_that_of_networkx(said):
    b, found, own = ranked(said)
    library = networkx.DiGraph()
    library.add_nodes_from(range(len(CARDS)))
    library.add_weighted_edges_from(
        (*b.pairs[i], float(found.likelihood[i])) for i in np.flatnonzero(found.is_kept)
    )  # fmt: skip
    expected = networkx.pagerank(library, alpha=0.85, weight="weight", tol=1e-14, max_iter=2000)
    np.testing.assert_allclose(own.pagerank, [expected[i] for i in range(len(CARDS))], atol=1e-12)
    assert own.pagerank.sum() == pytest.approx(1)
    assert own.dropped.sum() <= 1 + 1e-12
    incoming = [sum(w for _, _, w in library.in_edges(i, data="weight")) for i in range(len(CARDS))]
    np.testing.assert_allclose(own.incoming, incoming)


@quietly
@given(votes())
def test_counts_by_brute_force(said):
    b, found, _ = ranked(said)
    for i, (source, target) in enumerate(b.pairs):
        ends = CARDS[source].id, CARDS[target].id
        own = [v.shares for v in said if (v.source, v.target) == ends]
        back = [v.shares for v in said if (v.target, v.source) == ends]
        w, n, u = np.sum(own, axis=0)
        less = sum(shares[0] for shares in back)
        assert (found.wiser[i], found.not_wiser[i], found.unsure[i], found.back[i]) == (w, n, u, less)
        assert found.impressions[i] == len(own) + len(back)
        assert found.likelihood[i] == pytest.approx((w - less) / (w + n + u + less))
        assert 0 <= found.entropy[i] <= 2 + 1e-12


@quietly
@given(votes(), st.integers(0, 4))
def test_who_is_left_out_has_not_voted(said, who):
    left = [v for v in said if v.voter != f"v{who}"]
    if not left or len(left) == len(said):
        return
    b = graph.ballots(said, CARDS)
    weights = np.array([name != f"v{who}" for name in b.voters], float)
    without = graph.rankings(b, graph.edges(b, LOOSE, weights))
    np.testing.assert_allclose(without.pagerank, ranked(left)[2].pagerank)


@quietly
@given(votes(), st.integers(0, 2**32 - 1))
def test_shuffling_keeps_how_often_a_voter_says_what(said, seed):
    b = graph.ballots(said, CARDS)
    other = graph.shuffled(b, np.random.default_rng(seed))
    counts = np.bincount(b.voter_N)
    np.testing.assert_array_equal(b.shares_N3.sum(0), other.shares_N3.sum(0))
    for voter in np.flatnonzero(counts > 1):
        own = b.voter_N == voter
        np.testing.assert_array_equal(b.shares_N3[own].sum(0), other.shares_N3[own].sum(0))


def test_shuffling_shuffles():
    said = [Vote("v", a, b, ("here",), ONE_HOT[a > b]) for a in "abcdef" for b in "abcdef" if a != b]
    single = [Vote(f"v{i}", "a", "b", ("here",), ONE_HOT[i % 2]) for i in range(20)]
    for case in (said, single):
        b = graph.ballots(case, CARDS)
        drawn = [graph.shuffled(b, np.random.default_rng(seed)).shares_N3[:, 0] for seed in range(200)]
        np.testing.assert_allclose(np.mean(drawn, axis=0), 0.5, atol=0.15)
        assert len({tuple(d) for d in drawn}) > 150


def test_the_band_holds_what_shuffles_are():
    """Of votes without meaning, a card is outside the band in one of twenty tries."""
    rng, outside = np.random.default_rng(0), []
    for _ in range(40):
        said = [
            Vote(f"v{v}", a, b, ("here",), ONE_HOT[int(rng.random() < 0.5)])
            for v in range(10) for a in "abcdef" for b in "abcdef" if a != b and rng.random() < 0.5
        ]  # fmt: skip
        found = moral_graph.count(said, CARDS, Keep(1, 0.05, 2), 200)
        outside += [of[kind]["outside"] for of in found["rankings"].values() for kind in ("pagerank", "incoming")]
    assert 0.025 < np.mean(outside) < 0.09


def test_few_shuffles_put_nothing_outside():
    said = [Vote(f"v{v}", a, b, ("here",), ONE_HOT[a > b]) for v in range(9) for a in "abc" for b in "abc" if a != b]
    for count, some in ((10, False), (38, False), (39, True), (200, True)):
        found = moral_graph.count(said, CARDS[:3], Keep(), count)
        assert any(of["incoming"]["outside"] for of in found["rankings"].values()) is some


def test_both_ways():
    always = [Vote("v", a, b, ("here",), ONE_HOT[0]) for a, b in ("ab", "ba")]
    assert graph.both_ways(always) == 1
    assert graph.both_ways([always[0], always[1]._replace(shares=ONE_HOT[1])]) == 0
    assert graph.both_ways([always[0], always[1]._replace(contexts=("there",))]) is None
    assert graph.both_ways([always[0], always[1]._replace(voter="w")]) is None
    unsure = [vote._replace(shares=(0.5, 0.3, 0.2)) for vote in always]
    assert graph.both_ways(unsure) == pytest.approx(0.5)
