"""Scruples rows: the real files, the traps, and what a bad row says."""

import json

import pytest

from moral_jax.tasks.scruples import vote_split
from moral_jax.types import UserError
from tests.helpers import examples as read

DILEMMA = {
    "id": "d1",
    "actions": [{"id": "a1", "description": "leaving early"}, {"id": "a2", "description": "reading a diary"}],
    "gold_annotations": [1, 4],
    "gold_label": 1,
    "human_perf_annotations": [0, 5],
    "human_perf_label": 1,
    "controversial": True,
}


def dilemma(name):
    """Returns a row whose actions no row of another name has."""
    actions = [{"id": f"{name}{k}", "description": f"{verb} {name}"} for k, verb in enumerate(("leaving", "reading"))]
    return DILEMMA | {"id": name, "actions": actions}


ANECDOTE = {
    "id": "x1",
    "title": "AITA for leaving?",
    "text": "I left.",
    "action": None,
    "label_scores": {"AUTHOR": 2, "OTHER": 6, "EVERYBODY": 1, "NOBODY": 3, "INFO": 1},
    "binarized_label_scores": {"RIGHT": 9, "WRONG": 3},
}


def write(path, *rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_a_dilemma(tmp_path):
    [example] = read.dilemmas(write(tmp_path / "d.jsonl", DILEMMA))
    assert example.options == ("leaving early", "reading a diary")
    assert example.counts == (1.0, 4.0)  # counts of votes that the FIRST, the SECOND is LESS ethical
    assert example.second_counts == (0.0, 5.0)
    assert "less ethical" in example.question
    assert example.groups == {"second panel's split": "5-0"}  # not of the votes that predictions are scored on
    assert example.keys == ("a1", "a2")


def test_on_train_nobody_was_asked_twice(tmp_path):
    row = DILEMMA | {"human_perf_annotations": [0, 0], "gold_annotations": [0, 5]}
    [example] = read.dilemmas(write(tmp_path / "d.jsonl", row))
    assert example.second_counts is None
    assert example.groups == {"vote split": "5-0"}


def test_anecdotes_both_ways(tmp_path):
    path = write(tmp_path / "a.jsonl", ANECDOTE)
    [five], [two] = read.of_task("anecdotes", path), read.of_task("anecdotes_binary", path)
    assert five.counts == (2.0, 6.0, 1.0, 3.0, 1.0)
    assert five.options[:2] == ("the author", "the other person")
    assert two.counts == (9.0, 3.0)
    assert two.options == ("in the right", "in the wrong")
    assert five.title == two.title == "AITA for leaving?"
    assert five.text == "I left."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gold_annotations": [1]}, r"d.jsonl:2: field 'gold_annotations': found \[1\], expected a list of 2"),
        ({"gold_annotations": [0, 0]}, "expected at least one vote"),
        ({"gold_annotations": [1, -1]}, "found -1, expected a finite number"),
        ({"gold_annotations": [1, "4"]}, "found '4', expected a finite number"),
        ({"gold_annotations": [True, False]}, "found True, expected a finite number"),
        ({"human_perf_annotations": None}, "'human_perf_annotations': found None"),
        ({"actions": [{"id": "a1", "description": "x"}]}, "'actions'.*expected a list of 2"),
        ({"actions": [{"id": "a1", "description": " "}, {"id": "a2", "description": "x"}]}, r"'actions\[0\]'"),
        ({"actions": [{"id": 3, "description": "y"}, {"id": "a2", "description": "x"}]}, r"'actions\[0\]'"),
        ({"id": ""}, "field 'id': found ''"),
    ],
)
def test_a_bad_row_is_named(tmp_path, change, message):
    path = write(tmp_path / "d.jsonl", DILEMMA, DILEMMA | {"id": "d2"} | change)
    with pytest.raises(UserError, match=message):
        read.dilemmas(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_scores": {"AUTHOR": 1}}, "keys AUTHOR, OTHER, EVERYBODY, NOBODY, INFO"),
        ({"label_scores": [1, 2, 3, 4, 5]}, "an object with the keys"),
        ({"text": None}, "field 'text': found None"),
    ],
)
def test_a_bad_anecdote_is_named(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        read.of_task("anecdotes", write(tmp_path / "a.jsonl", ANECDOTE | change))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": 1', "d.jsonl:1: not valid JSON"),
        (b"[1, 2]\n", "d.jsonl:1: found list, expected a JSON object"),
        (b'\n\n{"id": "\xff"}\n', "d.jsonl:3: cannot be read as UTF-8"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, message):
    (tmp_path / "d.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read.dilemmas(tmp_path / "d.jsonl")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.jsonl: no such file"):
        read.dilemmas(tmp_path / "nowhere.jsonl")


def test_the_real_dilemmas(dilemmas):
    """Facts of the released dev split."""
    examples = read.dilemmas(dilemmas)
    assert len(examples) == 2340
    assert {sum(e.counts) for e in examples} == {5.0}
    first = sum(e.counts[0] >= e.counts[1] for e in examples) / 2340
    assert round(first, 3) == 0.518
    splits = [vote_split(e.counts) for e in examples]
    assert [round(splits.count(s) / 2340, 3) for s in ("5-0", "4-1", "3-2")] == [0.339, 0.339, 0.321]
    agree = sum((e.counts[0] > e.counts[1]) == (e.second_counts[0] > e.second_counts[1]) for e in examples)
    assert round(agree / 2340, 3) == 0.807


def test_the_real_anecdotes(shared):
    path = shared / "scruples" / "anecdotes" / "test_sample_60.scruples-anecdotes.jsonl"
    five, two = read.of_task("anecdotes", path), read.of_task("anecdotes_binary", path)
    assert len(five) == len(two) == 60
    for a, b in zip(five, two, strict=True):  # INFO votes are in neither
        assert (a.counts[1] + a.counts[3], a.counts[0] + a.counts[2]) == b.counts
