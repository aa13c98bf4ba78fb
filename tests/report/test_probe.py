"""Tests what a page of a probe says, and does not say, of given numbers."""

import pytest

from moral_jax.report.probe_words import judged, pair_said

HOLDS, WORDS = "these states hold it", "no more than that the words are in the states"
CONTROL, NOTHING = "it may be the probe's own capacity", "nothing was found"
MORE = "The probe finds more than the answer says"


def numbers(accuracy=0.9, words=0.3, selectivity=0.2, shuffled=0.6):
    def e(value):
        return {"value": value, "low": value - 0.05, "high": value + 0.05}

    last = {"accuracy": e(accuracy), "logit_difference": e(0.0), "lens_accuracy": e(0.5)}
    chosen = {"accuracy": e(accuracy), "above_words": e(words), "selectivity": e(selectivity), "shuffled_95": shuffled}
    return {"layers": [last], "chosen": chosen, "shuffled": {"best_layer_95": 0.65}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, HOLDS),
        ({"words": 0.04}, WORDS),
        ({"selectivity": 0.04}, CONTROL),
        ({"accuracy": 0.6}, NOTHING),
    ],
)
def test_what_follows(changes, says):
    said = " ".join(judged("one", numbers(**changes), of_answer=True))
    assert [text for text in (HOLDS, WORDS, CONTROL, NOTHING) if text in said] == [says]
    assert (MORE in said) == (says == HOLDS)
    assert MORE not in " ".join(judged("one", numbers(**changes), of_answer=False))


def test_models_of_other_shapes_and_three_classes_have_no_directions():
    layer = {"cka": 0.4, "band": [-0.1, 0.1], "cka_biased": 0.7, "direction": None}
    pair = {"names": ["a", "b"], "layers": [layer], "same_shape": False}
    assert "directions cannot be compared" in pair_said(pair, {"classes": {"x": 1, "y": 1}})[-1]
    assert "debiased CKA is lowest in layer 0 (0.400" in pair_said(pair, {"classes": {"x": 1, "y": 1}})[0]
    said = pair_said(pair | {"same_shape": True}, {"classes": {"x": 1, "y": 1, "z": 1}})
    assert said[-1] == "A direction lies between two classes; there are 3."
