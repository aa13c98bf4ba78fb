"""Tests probes, control labels, CKA and directions on golden values, planted answers and brute force."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from moral_jax.analysis.probe import cka, control, directions, ridge, subject
from moral_jax.analysis.probe.count import count
from moral_jax.analysis.probe.intervals import Groups
from moral_jax.analysis.probe.subject import Rows, Seen
from moral_jax.types import UserError

X = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [2, 1]])
Y = np.array([0, 1, 2, 3, 5])[:, None]


def test_cka_golden():
    assert cka.biased(X, Y) == pytest.approx(0.824756, abs=1e-6)
    assert cka.debiased(X, Y) == pytest.approx(0.696310, abs=1e-6)
    assert cka.biased(X, X) == pytest.approx(1, abs=1e-12)
    assert cka.debiased(X, X) == pytest.approx(1, abs=1e-12)


def test_cka_of_noise_is_high_and_debiased_near_zero():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 50)), rng.normal(size=(20, 50))
    assert cka.biased(a, b) == pytest.approx(0.7152, abs=1e-4)
    assert cka.debiased(a, b) == pytest.approx(-0.0136, abs=1e-4)
    low, high = cka.band(a, b, 200, 0)
    assert low < cka.debiased(a, b) < high < 0.25
    assert cka.debiased(a, a @ rng.normal(size=(50, 60)) + b @ rng.normal(size=(50, 60))) > high


def test_cka_is_the_published_sum():
    """terms xty - n / (n - 2) sum rx ry + |x|^2 |y|^2 / ((n - 1)(n - 2)) of google-research."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 4))
    x, y = x - x.mean(0), y - y.mean(0)

    def term(a, b):
        n, ra, rb = len(a), (a**2).sum(1), (b**2).sum(1)
        return np.sum((a.T @ b) ** 2) - n / (n - 2) * ra @ rb + ra.sum() * rb.sum() / ((n - 1) * (n - 2))

    assert cka.debiased(x, y) == pytest.approx(term(x, y) / np.sqrt(term(x, x) * term(y, y)), rel=1e-9)


def test_cka_ignores_a_turn_and_a_stretch():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 6)), rng.normal(size=(30, 6))
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    assert cka.debiased(3 * x @ turn + 5, y) == pytest.approx(cka.debiased(x, y), abs=1e-9)
    assert np.isnan(cka.debiased(np.ones((9, 2)), x[:9]))


def planted(rng, groups=24, width=12, strength=3.0):
    """Returns rows of a balanced label in groups of four, and states with its direction."""
    labels = np.tile([0, 1, 1, 0], groups)
    direction = rng.normal(size=width)
    states = rng.normal(size=(len(labels), width)) + strength * np.outer(labels - 0.5, direction)
    rows = Rows(labels, ["no", "yes"], labels, np.repeat(np.arange(groups), 4), [["same"]] * len(labels))
    return rows, states, direction


def test_a_probe_is_sklearns_ridge_classifier():
    rng = np.random.default_rng(3)
    x, y, new = rng.normal(size=(40, 9)), rng.integers(0, 3, 40), rng.normal(size=(25, 9))
    scaled = ridge.scaling(x)
    weights = ridge.solve(scaled(x), ridge.targets(y[None], 3)[:, 0], np.full(3, 7.0))
    own = scaled(new) @ weights + ridge.targets(y[None], 3)[:, 0].mean(0)
    theirs = RidgeClassifier(alpha=7.0).fit(scaled(x), y)
    np.testing.assert_allclose(2 * own - 1, theirs.decision_function(scaled(new)), atol=1e-9)


def test_errors_of_groups_left_out_are_those_of_refits():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(14, 30)), rng.normal(size=(14, 2))
    groups = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 4, 5, 5, 6, 6])
    errors = ridge.left_out_errors(x, y, groups, np.array([0.5, 20.0]))
    for i, penalty in enumerate((0.5, 20.0)):
        for g in range(7):
            left, out = groups != g, groups == g
            centre = x[left].mean(0)
            w = ridge.solve(x[left] - centre, y[left], np.full(2, penalty))
            want = y[out] - (x[out] - centre) @ w - y[left].mean(0)
            np.testing.assert_allclose(errors[i, out], want, atol=1e-9)


def test_a_planted_direction_is_found_and_noise_is_not():
    rows, states, _ = planted(np.random.default_rng(5))
    noise = np.random.default_rng(6).normal(size=states.shape)
    folds = subject.folds(rows, 0)
    found = [ridge.probe(x, rows.labels_E[None], 2, rows.groups_E, folds).correct_SE.mean() for x in (states, noise)]
    assert found[0] > 0.95
    assert found[1] < 0.65


def test_rows_that_share_a_key_are_on_one_side_and_cannot_be_learned_by_heart():
    """A state that names its group says nothing about other groups, whose labels are random."""
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(30), 4)
    labels = rng.integers(0, 2, 30)[groups]
    states = np.eye(30)[groups] + 0.01 * rng.normal(size=(120, 30))
    rows = Rows(labels, ["a", "b"], labels, groups, [["w"]] * 120)
    folds = subject.folds(rows, 0)
    assert all(len(set(folds[groups == g])) == 1 for g in range(30))
    assert set(folds) == set(range(subject.FOLDS))
    apart = ridge.probe(states, labels[None], 2, groups, folds).correct_SE.mean()
    mixed = ridge.probe(states, labels[None], 2, np.arange(120), np.arange(120) % 5).correct_SE.mean()
    assert apart < 0.65
    assert mixed == 1


def test_control_labels_are_random_for_each_word_type():
    """Hewitt and Liang: the same word, the same label, whatever row it is in; other seeds, other labels."""
    rng = np.random.default_rng(8)
    types = rng.integers(0, 12, 240)
    words = [[f"word{t}"] for t in types]
    labels = np.arange(240) % 2
    found = control.labels(words, labels, np.arange(240), range(5))
    for of_seed in found:
        of_type = [set(of_seed[types == t]) for t in range(12)]
        assert all(len(s) == 1 for s in of_type)
        assert {0, 1} == set.union(*of_type)
        assert 0.3 < of_seed.mean() < 0.7
    assert len({tuple(of_seed) for of_seed in found}) > 1
    assert control.labels([["same"]] * 8, labels[:8], np.arange(8), [0]) is None


def test_states_that_say_nothing_are_at_the_share_of_the_most_frequent_label():
    """Also for labels that no fold balances, as control labels are."""
    rows, states, _ = planted(np.random.default_rng(13))
    sets = np.stack([rows.labels_E, *control.shuffled(rows.labels_E, range(9)), np.arange(96) % 4 > 0])
    found = ridge.probe(np.ones_like(states), sets, 2, rows.groups_E, subject.folds(rows, 0)).correct_SE.mean(1)
    np.testing.assert_allclose(found, [0.5] * 10 + [0.75])


def test_selectivity_is_accuracy_less_control_accuracy():
    """States that spell their words do well on control labels; states that hold the label alone do not."""
    rng = np.random.default_rng(9)
    types = rng.integers(0, 10, 200)
    labels = np.arange(200) % 2
    rows = Rows(labels, ["a", "b"], labels, np.arange(200), [[f"w{t}"] for t in types])
    spelled = np.eye(10)[types] + 0.1 * rng.normal(size=(200, 10))
    holds = np.outer(labels - 0.5, rng.normal(size=10)) + 0.2 * rng.normal(size=(200, 10))
    both = np.concatenate([spelled, holds], axis=1)
    seen = {name: Seen(np.stack([x, x]), None) for name, x in (("label", holds), ("both", both), ("words", spelled))}
    found = count(rows, seen, 0, 200)
    of = {name: one["layers"][0] for name, one in found["respondents"].items()}
    for one in of.values():
        assert one["selectivity"]["value"] == pytest.approx(one["accuracy"]["value"] - one["control"]["value"])
        assert one["selectivity"]["low"] <= one["selectivity"]["value"] <= one["selectivity"]["high"]
    assert of["label"]["accuracy"]["value"] > 0.95
    assert of["both"]["accuracy"]["value"] > 0.95
    assert of["label"]["selectivity"]["low"] > 0.25
    assert of["both"]["control"]["value"] > 0.95  # a probe that can do anything is not selective
    assert of["both"]["selectivity"]["high"] < 0.1
    assert of["words"]["accuracy"]["value"] < 0.65
    assert found["words"]["value"] < 0.65


def test_a_label_that_words_give_away_is_seen_by_words_alone():
    rows, states, _ = planted(np.random.default_rng(10))
    said = [["the", "yes" if label else "no"] for label in rows.labels_E]
    found = count(rows._replace(words=said), {"one": Seen(states[None], None)}, 0, 100)
    assert found["words"]["value"] == 1
    assert found["respondents"]["one"]["chosen"]["above_words"]["value"] <= 0


def test_a_layer_is_chosen_without_the_rows_it_is_judged_by():
    """Among many layers of noise the best looks good; one that is chosen inside does not."""
    rng = np.random.default_rng(11)
    rows, states, _ = planted(rng, groups=12)
    noise = rng.normal(size=(40, *states.shape))
    seen = {"noise": Seen(noise, None), "planted": Seen(np.concatenate([noise[:3], states[None]]), None)}
    found = count(rows, seen, 0, 100)["respondents"]
    best = max(layer["accuracy"]["value"] for layer in found["noise"]["layers"])
    assert best > 0.6
    assert found["noise"]["chosen"]["accuracy"]["value"] < 0.6
    assert best < found["noise"]["shuffled"]["best_layer_95"] + 0.05
    assert 0.4 < found["noise"]["chosen"]["shuffled_95"] < found["noise"]["shuffled"]["best_layer_95"]
    assert found["noise"]["chosen"]["accuracy"]["value"] <= found["noise"]["chosen"]["shuffled_95"]
    assert set(found["planted"]["chosen"]["layers"]) == {3}
    assert found["planted"]["chosen"]["accuracy"]["value"] > found["planted"]["chosen"]["shuffled_95"]
    assert found["planted"]["chosen"]["accuracy"]["value"] > 0.95


def test_labels_that_say_nothing_choose_layers_of_their_own():
    """What luck alone comes to, by hand: each shuffled label is probed alone, in the layers that suit it best."""
    rng = np.random.default_rng(14)
    rows, states, _ = planted(rng, groups=12)
    layers = np.concatenate([rng.normal(size=(6, *states.shape)), states[None]])
    folds, luck = subject.folds(rows, 0), []
    for labels in control.shuffled(rows.labels_E, range(20)):
        probed = [ridge.probe(x, labels[None], 2, rows.groups_E, folds) for x in layers]
        chosen = np.argmin([one.errors_FS[:, 0] for one in probed], axis=0)
        luck.append(np.mean([probed[chosen[fold]].correct_SE[0, e] for e, fold in enumerate(folds)]))
    found = count(rows, {"one": Seen(layers, None)}, 0, 100)["respondents"]["one"]["chosen"]
    assert set(found["layers"]) == {6}
    assert found["shuffled_95"] == pytest.approx(np.percentile(luck, 95), abs=1e-12)


def test_directions_before_and_after():
    rng = np.random.default_rng(12)
    rows, before, direction = planted(rng, groups=40, strength=1.0)
    step = np.outer(rows.labels_E - 0.5, direction)
    other = rng.normal(size=direction.shape)
    other -= direction * (other @ direction) / (direction @ direction)
    after = {
        "same": before,
        "wider": before + step,
        "moved": before + direction,
        "turned": before - step + np.outer(rows.labels_E - 0.5, 2 * other),
    }
    groups, folds = Groups(rows.groups_E, 200, 0), subject.folds(rows, 0)
    found = {name: directions.compare(before, x, rows, folds, groups, 0) for name, x in after.items()}
    for name, cosine in (("same", 1), ("moved", 1), ("turned", 0)):
        e = found[name]["cosine"]
        assert e["value"] == pytest.approx(cosine, abs=0.25 if name == "turned" else 1e-9)
        assert e["low"] <= e["value"] <= e["high"]
    assert found["turned"]["across"] < 0.4 < 0.8 < found["turned"]["within_first"]
    assert found["same"]["across"] == pytest.approx(found["same"]["within_first"])
    assert found["same"]["gap_change"]["value"] == pytest.approx(0, abs=1e-9)
    assert found["wider"]["gap_change"]["low"] > 0.5
    assert found["turned"]["gap_change"]["high"] < -0.5
    assert found["moved"]["shift"]["low"] > 0.5
    assert found["moved"]["gap_change"]["value"] == pytest.approx(0, abs=1e-9)
    assert found["same"]["probe_cosine"] == pytest.approx(1)
    constant = np.ones_like(before)
    assert directions.compare(constant, constant, rows, folds, groups, 0) is None


def test_too_few_groups_and_a_class_within_one_group_are_refused():
    rows, *_ = planted(np.random.default_rng(0), groups=9)
    with pytest.raises(UserError, match="fall into 9 groups that share no key; a probe needs 10"):
        subject.folds(rows, 0)
    rows, *_ = planted(np.random.default_rng(0), groups=12)
    labels = np.where(rows.groups_E == 3, 1, 0)
    with pytest.raises(UserError, match="label 'yes': its rows share their keys"):
        subject.folds(rows._replace(labels_E=labels), 0)
