"""Values to a decision: what is left out, p and entropy, and thresholds that are fitted."""

import numpy as np
import pytest

from moral_jax.analysis import kaleido
from moral_jax.analysis.kaleido import Judged, Thresholds

# eight lines that the reference's README prints for "Biking to work instead of driving"
README = [
    Judged("Duty", "Duty to be environmentally responsible", 1.0, (1.0, 0.0, 0.0)),
    Judged("Right", "Right to choose one's mode of transportation", 1.0, (0.26, 0.0, 0.74)),
    Judged("Value", "Environmental sustainability", 0.99, (1.0, 0.0, 0.0)),
    Judged("Value", "Health and fitness", 0.99, (1.0, 0.0, 0.0)),
    Judged("Right", "Right to a clean environment", 0.99, (1.0, 0.0, 0.0)),
    Judged("Duty", "Duty to obey traffic laws", 0.99, (0.13, 0.01, 0.86)),
    Judged("Value", "Convenience", 0.98, (0.03, 0.75, 0.22)),
    Judged("Duty", "Duty to promote health", 0.98, (1.0, 0.0, 0.0)),
]
HALF = dict.fromkeys(("Value", "Right", "Duty"), 0.5)
SUPPORTS, OPPOSES = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def value(text, relevance, valence=SUPPORTS, kind="Value"):
    return Judged(kind, text, relevance, valence)


def texts(kept):
    return [v.text for v in kept]


def test_the_decision_on_the_readme_s_eight_lines():
    found = kaleido.decide(README)
    np.testing.assert_allclose(found.p, (0.677790, 0.094053, 0.228157), atol=5e-7)
    assert found.entropy == pytest.approx(0.823088, abs=5e-7)
    assert [v.label for v in README[:2] + README[6:7]] == ["supports", "either", "opposes"]


def test_a_decision_weighs_by_relevance_and_needs_some():
    assert kaleido.decide([value("a", 0.75), value("b", 0.25, OPPOSES)]).p == pytest.approx((0.75, 0.25, 0.0))
    assert kaleido.decide([]) is None
    assert kaleido.decide([value("a", 0.0)]) is None


@pytest.mark.parametrize(
    ("first", "second", "likeness"),
    [
        ("clean environment", "a clean environment", 1.0),  # P 2/3, R 1, F 0.8
        ("a clean environment", "clean environment", 1.0),
        ("Right to privacy", "Right to property", 0.0),  # what all rights begin with is no likeness
        ("protecting animals", "protect animal", 1.0),  # stems
        ("be kind to others", "kind of blue", 1 / 3),
    ],
)
def test_likeness_of_words(first, second, likeness):
    assert kaleido.rouge(first, second) == pytest.approx(likeness)


def test_recall_alone_drops_a_near_duplicate():
    from rouge_score import rouge_scorer

    pair = "clean environment", "a clean environment"
    score = rouge_scorer.RougeScorer(["rougeLsum"], use_stemmer=True).score(*pair)["rougeLsum"]
    assert (score.precision, score.recall, score.fmeasure) == pytest.approx((2 / 3, 1.0, 0.8))
    assert score.fmeasure <= 0.8  # precision and F would keep it
    kept, dropped = kaleido.keep([value(pair[1], 0.9), value(pair[0], 0.8)], Thresholds(HALF, 0.8, 0.8), None)
    assert texts(kept) == ["a clean environment"]
    assert [(d.value.text, d.by, d.like) for d in dropped] == [("clean environment", "words", "a clean environment")]


def test_the_more_relevant_of_two_stays_and_kinds_do_not_meet():
    values = [value("Honest", 0.6), value("Honesty", 0.9), value("Honesty", 0.7, kind="Duty")]
    values.insert(0, value("Honesty", 0.5, kind="Right"))
    kept, dropped = kaleido.keep([*values, value("Honest", 0.95)], Thresholds(HALF, 0.8, 0.8), None)
    assert [(v.kind, v.text, v.relevance) for v in kept] == [
        ("Value", "Honest", 0.95), ("Value", "Honesty", 0.9), ("Duty", "Honesty", 0.7), ("Right", "Honesty", 0.5)
    ]  # fmt: skip
    assert [d.value.relevance for d in dropped] == [0.6]


def test_what_is_hardly_relevant_goes_by_its_kind():
    thresholds = Thresholds({"Value": 0.3, "Right": 0.5, "Duty": 0.7}, 0.8, 0.8)
    values = [value(f"{kind} at {r}", r, kind=kind) for kind in HALF for r in (0.3, 0.5, 0.7)]
    kept, dropped = kaleido.keep(values, thresholds._replace(rouge=1.0), None)
    assert sorted((v.kind, v.relevance) for v in kept) == [
        ("Duty", 0.7), ("Right", 0.5), ("Right", 0.7), ("Value", 0.3), ("Value", 0.5), ("Value", 0.7)
    ]  # fmt: skip
    assert {d.by for d in dropped} == {"relevance"}


def test_a_dropped_value_drops_no_other():
    """b is like a and goes; c is like b, but not like a, and stays."""
    values = [value("one two three four five", 0.9), value("three four five six", 0.8), value("five six seven", 0.7)]
    kept, _ = kaleido.keep(values, Thresholds(HALF, 0.6, 0.8), None)
    assert texts(kept) == ["one two three four five", "five six seven"]


def test_meaning_is_compared_after_words():
    vectors = {"kind": (2.0, 0.0), "gentle": (3.0, 1.0), "rich": (0.0, 1.0)}
    values = [value("gentle", 0.7), value("kind", 0.9), value("rich", 0.6, OPPOSES)]
    kept, dropped = kaleido.keep(values, Thresholds(HALF, 0.8, 0.9), lambda t: np.array([vectors[x] for x in t]))
    assert texts(kept) == ["kind", "rich"]
    [gone] = dropped
    assert (gone.by, gone.like) == ("meaning", "kind")
    assert gone.likeness == pytest.approx(3 / np.sqrt(10))


def test_a_fitted_threshold_parts_relevant_from_irrelevant():
    p, relevant = np.array([0.9, 0.8, 0.75, 0.7, 0.2]), np.array([True, True, True, False, False])
    found = kaleido.fitted_relevance(p, relevant, 0.5)
    assert found == pytest.approx(0.725)
    assert kaleido.balanced_accuracy(p, relevant, found) == 1.0
    assert kaleido.balanced_accuracy(p, relevant, 0.5) == pytest.approx(0.75)
    assert kaleido.fitted_relevance(p[:3], relevant[:3], 0.4) == 0.4  # one side only
    assert kaleido.fitted_relevance(np.array([0.9, 0.1]), np.array([True, False]), 0.3) == 0.3  # as good as any


def test_a_fitted_likeness_takes_at_most_one_pair_in_twenty_for_the_same():
    likeness = {f"v{i}": i / 100 for i in range(101)}
    pairs = [(name, "other") for name in likeness]
    assert kaleido.fitted_likeness(pairs, lambda a, _: likeness[a], 0.8) == pytest.approx(0.95)
    assert kaleido.fitted_likeness(pairs, lambda a, _: likeness[a], 0.97) == 0.97  # is never lowered
    assert kaleido.fitted_likeness([], lambda *_: 1.0, 0.8) == 0.8
