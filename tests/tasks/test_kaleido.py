"""Rows of values in situations: four tasks on one file, prompts word for word, and what is refused."""

import json

import pytest

from moral_jax.config.task import TaskConfig
from moral_jax.tasks import kaleido, reading
from moral_jax.tasks.kaleido import Value
from moral_jax.types import UserError

DIARY = {"situation": "Reading a diary", "kind": "Right", "text": "Right to privacy"}
ROWS = [
    DIARY | {"relevant": [9, 1], "valence": [0, 9, 1], "explanation": "It is private."},
    DIARY | {"kind": "Value", "text": "Military glory", "relevant": [1, 9]},
    {"situation": "Lying", "kind": "Value", "text": "Honesty: to all", "valence": [0.0, 0.75, 0.25]},
]
VALID = {"relevance": 0.5, "rouge": 0.8, "cosine": 0.8, "candidates": 2, "max_tokens": 3, "temperature": 1.0,
         "encoder": ""} | {"relevance": {"Value": 0.5, "Right": 0.5, "Duty": 0.5}}  # fmt: skip


def write(folder, *rows):
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(autouse=True)
def _own_cache(own_cache):
    pass


def read(folder, name, *rows):
    return reading.read(write(folder, *rows), TaskConfig(name=f"kaleido_{name}")).examples


def test_relevance_and_valence_are_votes(tmp_path):
    first, second = read(tmp_path, "relevance", *ROWS)
    assert first.question == "[Relevance]:\tSituation: Reading a diary\tRight: Right to privacy"
    assert (first.options, first.counts, second.counts) == (("Yes", "No"), (9.0, 1.0), (1.0, 9.0))
    first, second = read(tmp_path, "valence", *ROWS)
    assert first.question == "[Valence]:\tSituation: Reading a diary\tRight: Right to privacy"
    assert (first.options, first.counts) == (("Supports", "Opposes", "Either"), (0.0, 9.0, 1.0))
    assert second.counts == (0.0, 0.75, 0.25)
    assert first.keys != second.keys
    assert first.groups == {"kind": "Right"}


def test_what_is_relevant_is_generated_and_explained(tmp_path):
    found = read(tmp_path, "generation", *ROWS)
    assert [e.options for e in found] == [(" Right: Right to privacy",), (" Value: Honesty: to all",)]
    assert found[0].text == "[Generate]:\tSituation: Reading a diary\nAnswer:"
    assert found[0].keys == read(tmp_path, "relevance", *ROWS)[0].keys
    [only] = read(tmp_path, "explanation", *ROWS)
    assert (only.text, only.options) == (
        "[Explanation]:\tSituation: Reading a diary\tRight: Right to privacy\nAnswer:", (" It is private.",)
    )  # fmt: skip


def test_a_value_is_split_at_the_first_colon_and_keeps_the_others():
    assert kaleido.parsed(" Value: Honesty: with friends ") == Value("Value", "Honesty: with friends")
    for line in ("Honesty", "Virtue: Honesty", "Value:", "Value: ", ": Honesty", "value: Honesty"):
        assert kaleido.parsed(line) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "Virtue"}, "'kind': found 'Virtue', expected one of Value, Right, Duty"),
        ({"relevant": [1, 2, 3]}, "'relevant': found .*expected a list of 2"),
        ({"relevant": [0, 0]}, "'relevant': found .*at least one vote"),
        ({"situation": " "}, "'situation': found ' ', expected a non-empty string"),
        ({"relevnt": [1, 2]}, "'relevnt': no such field"),
        ({"text": "a\x00b"}, "holds"),
    ],
)
def test_a_bad_row_is_refused(tmp_path, change, said):
    with pytest.raises(UserError, match=rf"rows.jsonl:2: field {said}" if said != "holds" else "rows.jsonl:2"):
        read(tmp_path, "relevance", ROWS[0], ROWS[0] | change)


@pytest.mark.parametrize(
    ("key", "value"),
    [("relevance", 0.5), ("relevance", {"Value": 0.5}), ("rouge", 1.5), ("candidates", 0), ("candidates", True),
     ("temperature", 0), ("encoder", None), ("other", 1)],
)  # fmt: skip
def test_settings_are_checked(key, value):
    assert kaleido.settings(VALID, "t").candidates == 2
    with pytest.raises(UserError, match=f"t: settings.{key}: "):
        kaleido.settings(VALID | {key: value}, "t")
    if key in VALID:
        with pytest.raises(UserError, match=f"t: settings.{key}: found None"):
            kaleido.settings({k: v for k, v in VALID.items() if k != key}, "t")


def test_values_of_a_file_may_be_of_one_situation(tmp_path):
    path = write(tmp_path, {"kind": "Duty", "text": "Duty to help"}, DIARY)
    assert kaleido.read_values(path) == [
        (None, Value("Duty", "Duty to help")), ("Reading a diary", Value("Right", "Right to privacy"))
    ]  # fmt: skip
    with pytest.raises(UserError, match="rows.jsonl:1: field 'text'"):
        kaleido.read_values(write(tmp_path, {"kind": "Duty"}))
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(UserError, match="holds no values"):
        kaleido.read_values(str(tmp_path / "none.jsonl"))
