"""Rows of texts and preferences: every form that they come in, and what is refused."""

import json

import pytest

from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.tasks import load, texts
from moral_jax.tasks.reading import read
from moral_jax.tasks.rows import Row
from moral_jax.tasks.votes import ROLES
from moral_jax.types import UserError

USER, REPLY = {"role": "user", "content": "May I?"}, {"role": "assistant", "content": "No."}


def text(**values):
    [example] = texts.text_examples(Row(values, "f:1"), TaskConfig(name="texts"))
    return example


def preference(**values):
    [example] = texts.preference_examples(Row(values, "f:1"), TaskConfig(name="preferences"))
    return example


@pytest.mark.parametrize(
    ("values", "before", "prompt", "reply"),
    [
        ({"messages": [USER, REPLY]}, [USER], "", "No."),
        ({"prompt": "May I? ", "completion": "No."}, [], "May I? ", "No."),
        ({"prompt": [USER], "completion": [REPLY]}, [USER], "", "No."),
        ({"completion": "No."}, [], "", "No."),
        ({"text": "A story."}, [], "", "A story."),
        ({"text": "\n\nHuman: May I?\n\nAssistant: No."}, [USER], "", "No."),
        ({"messages": json.dumps([USER, REPLY])}, [USER], "", "No."),  # as spreadsheets keep it
    ],
)
def test_forms_of_texts(values, before, prompt, reply):
    example = text(**values)
    assert (list(example.messages), example.text, example.options) == (before, prompt, (reply,))
    assert example.counts == (1.0,)


PAIR = {"chosen": "No.", "rejected": "Sure."}


@pytest.mark.parametrize(
    ("values", "before", "prompt"),
    [
        ({"prompt": "May I?", **PAIR}, [], "May I?"),
        ({"messages": [USER], **PAIR}, [USER], ""),
        ({"prompt": [USER], "chosen": [REPLY], "rejected": [REPLY | {"content": "Sure."}]}, [USER], ""),
        ({"chosen": [USER, REPLY], "rejected": [USER, REPLY | {"content": "Sure."}]}, [USER], ""),
        (
            {f: f"\n\nHuman: May I?\n\nAssistant: {PAIR[f]}" for f in PAIR},
            [USER],
            "",
        ),
        ({"prompt": "May I?", "completions": ["No.", "Sure."], "counts": [1, 0]}, [], "May I?"),
    ],
)
def test_forms_of_preferences(values, before, prompt):
    example = preference(**values)
    assert (list(example.messages), example.text) == (before, prompt)
    assert (example.options, example.counts) == (("No.", "Sure."), (1.0, 0.0))


def test_dialogues_that_differ_only_at_their_end_share_all_before_it():
    start = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: May I?"
    example = preference(chosen=f"{start}\n\nAssistant: No.", rejected=f"{start}\n\nAssistant: Sure.")
    assert [turn["content"] for turn in example.messages] == ["Hi", "Hello.", "May I?"]
    assert example.keys == ("begins Hi",)


def test_a_transcript_has_the_roles_that_turns_have():
    assert set(texts.SPEAKERS.values()) == set(ROLES)


@pytest.mark.parametrize(
    ("of", "values", "message"),
    [
        (text, {"messages": [USER]}, "a conversation that ends with a reply of the assistant's"),
        (text, {"messages": [{"role": "bot", "content": "x"}]}, "turns like"),
        (text, {"prompt": "May I?"}, "a text to learn"),
        (text, {"text": "  "}, "a text to learn"),
        (text, {"prompt": "May I?", "completion": ""}, "field 'completion'"),
        (preference, {"prompt": "May I?", "chosen": "No."}, "field 'rejected'"),
        (preference, {"prompt": "May I?", "chosen": "No.", "rejected": "No."}, "that all differ"),
        (preference, PAIR, "a prompt, in"),
        (preference, {"prompt": "x", "completions": ["a", "b"], "counts": [0, 0]}, "at least one vote"),
        (preference, {"prompt": "x", "completions": ["a", "b"], "counts": [1]}, "a list of 2"),
        (preference, {"prompt": "x", "completions": ["a"], "counts": [1]}, "at least two completions"),
        (preference, {"chosen": [USER, REPLY], "rejected": [USER, USER]}, "one reply of the assistant's"),
        (text, {"text": "a\x00b"}, "remove it"),
    ],
)
def test_what_is_refused(of, values, message):
    with pytest.raises(UserError, match=message) as e:
        of(**values)
    assert str(e.value).startswith("f:1: field ")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_texts_with_the_same_prompt_stay_on_one_side(tmp_path):
    rows = [{"prompt": f"question {i // 3}", "completion": f"answer {i}"} for i in range(60)]
    path = write(tmp_path / "rows.jsonl", rows)
    data = load.load(TaskConfig(name="texts", path=path, validation=0.2, test=0.3))
    sides = [{e.text for e in side} for side in (data.train, data.validation, data.test)]
    assert all(sides)
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]


def test_a_column_that_no_row_has(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"reply": "No.", "prompt": "x"}])
    config = TaskConfig(name="texts", path=path, fields=FieldsConfig(completion="replies"))
    with pytest.raises(UserError, match="replies|a text to learn"):
        read(path, config)


def test_bad_rows_can_be_left_out(tmp_path):
    good = [{"prompt": f"q {i}", **PAIR} for i in range(3)]
    path = write(tmp_path / "rows.jsonl", [*good, {"prompt": "q", "chosen": "x", "rejected": "x"}])
    found = read(path, TaskConfig(name="preferences", path=path, on_bad_row="drop"))
    assert (len(found.examples), found.bad) == (3, 1)


def test_the_pairs_of_hh_rlhf(shared):
    """Every whole dialogue is read; the few that end in an empty reply are named."""
    path = str(shared / "hh_rlhf" / "harmless-base" / "test.jsonl.gz")
    found = read(path, TaskConfig(name="preferences", path=path, on_bad_row="drop"))
    assert len(found.examples) + found.bad == 2312
    assert found.bad < 30
    assert all(len(e.options) == 2 and e.messages[-1]["role"] == "user" for e in found.examples)
