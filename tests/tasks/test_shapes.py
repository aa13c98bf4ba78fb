"""Tests votes in every shape: lists, columns, objects, labels, shares with a total, people, questions, scales."""

import json

import pytest

from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.tasks import load, reading
from moral_jax.tasks.rows import Row
from moral_jax.tasks.tally import code
from moral_jax.tasks.votes import examples, positions
from moral_jax.types import UserError

ROW = {"id": "r", "text": "She kept it."}
FIXED = {"question": "Was it wrong?", "options": "wrong|fine"}


def counts(values, total_votes=None, **fields):
    config = TaskConfig(name="votes", fields=FieldsConfig(**FIXED | fields), total_votes=total_votes)
    return [e.counts for e in examples(Row(ROW | values, "f.jsonl:3"), config)][0]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(path, config=None, **fields):
    config = TaskConfig(name="votes", fields=FieldsConfig(**FIXED | fields), **(config or {}))
    return list(reading.read(str(path), config).examples)


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"v": [3, 1]}, {"counts": "v"}),
        ({"n wrong": 3, "n.fine": 1}, {"counts": "n wrong|n.fine"}),
        ({"v": {"fine": 1, "wrong": 3}}, {"counts": "v"}),
        ({"v": '{"fine": 1, "wrong": 3}'}, {"counts": "v"}),
        ({"v": "{'fine': 1, 'wrong': 3}"}, {"counts": "v"}),
        ({"v": {"0": 1, "1.0": 3}}, {"counts": "v", "codes": "1|0"}),
        ({"a": {"b": {"1": 0.75, "0": 0.25}}}, {"counts": "a.b", "codes": "1|0", "total": "n"}),
        ({"v": ["wrong", "fine", "wrong", "wrong"]}, {"labels": "v"}),
        ({"v": "wrong, fine,wrong,wrong"}, {"labels": "v"}),
        ({"v": {"Ann1": 1, "Ann2": 0, "Ann3": 1.0, "Ann4": "1"}}, {"labels": "v", "codes": "1|0"}),
        ({"v": [True, False, True, True]}, {"labels": "v", "codes": "true|false"}),
        ({"v": "1,-1,0,1,1,"}, {"labels": "v", "codes": "1|0", "ignore": "-1"}),
    ],
)
def test_a_shape_of_three_votes_and_one(values, fields):
    assert counts(values | {"n": 4}, **fields) == (3.0, 1.0)


def test_an_absent_label_has_no_votes():
    assert counts({"v": {"fine": 5}}, counts="v") == (0.0, 5.0)


@pytest.mark.parametrize(
    ("values", "fields", "message"),
    [
        ({"v": ["wrong", "odd"]}, {"labels": "v"}, "field 'v': found 'odd', expected one of 'wrong', 'fine'"),
        ({"v": {"odd": 2, "fine": 1}}, {"counts": "v"}, "found 'odd', expected one of"),
        ({"v": []}, {"labels": "v"}, "expected at least one label"),
        ({"v": [3, 1]}, {"counts": "v", "codes": "1"}, None),
        ({"v": {"1": 3}}, {"counts": "v", "codes": "1"}, "codes='1': names 1 labels, but f.jsonl:3 has 2 options"),
        ({"v": [3, 1], "n": 0}, {"counts": "v", "total": "n"}, "field 'n': found 0.0, expected a positive number"),
        ({"v": [3, 1]}, {"counts": "v", "total": "n"}, "field 'n': found None"),
        ({"v": 3}, {"counts": "v"}, "expected a list of votes, or an object label -> votes"),
        ({"v": {"wrong": -1, "fine": 2}}, {"counts": "v"}, "zero or more"),
    ],
)
def test_votes_that_are_none_are_named(values, fields, message):
    if message is None:
        assert counts(values, **fields) == (3.0, 1.0)
        return
    with pytest.raises(UserError, match=message):
        counts(values, **fields)


def test_shares_of_two_digits_become_whole_votes_again():
    """Six people, 5 to 1, as 0.83 and 0.17."""
    assert counts({"v": [0.83, 0.17], "n": 6}, counts="v", total="n") == (5.0, 1.0)
    assert counts({"v": [0.83, 0.17]}, total_votes=6.0, counts="v") == (5.0, 1.0)


@pytest.mark.parametrize("split", [(1, 24), (7, 18), (11, 14), (3, 22)])
def test_exact_shares_become_whole_votes_again(split):
    assert counts({"v": [s / 25 for s in split]}, total_votes=25.0, counts="v") == split


def test_weighted_shares_stay_shares_of_the_number_of_people():
    got = counts({"yes": 612.4, "no": 381.9, "n": 1002}, counts="yes|no", total="n")
    assert got == pytest.approx((1002 * 612.4 / 994.3, 1002 * 381.9 / 994.3), rel=1e-12)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (1.0, "1"), ("1.0", "1"), (" 01", "1"), (True, "true"), ("1e999", "1e999"), ("-3", "-3")],
)
def test_a_label_has_one_spelling(value, text):
    assert code(value) == text


@pytest.mark.fault("options that are large numbers", promise="all digits are asked")
def test_numbers_keep_all_their_digits():
    options = [1000, 250000, 1000000, 1234567, 0.1234567, 0.1234568, 3.0]
    config = TaskConfig(name="votes", fields=FieldsConfig(counts="v"))
    [example] = examples(Row(ROW | {"question": "?", "options": options, "v": [1] * 7}, "f:1"), config)
    assert example.options == ("1000", "250000", "1000000", "1234567", "0.1234567", "0.1234568", "3")


@pytest.mark.parametrize("name", ["action description", "rot-agree", "a.b", "Alter (Jahre)", "n°"])
def test_a_column_may_have_any_name(name):
    config = TaskConfig(name="votes", fields=FieldsConfig(**FIXED | {"text": f"About {{{name}}}.", "counts": "v"}))
    [example] = examples(Row({name: "x", "v": [1, 1]}, "f:1"), config)
    assert example.text == "About x."


PEOPLE = """item,who,text,label,gender,weight
7,a,Go home.,wrong,man,1
9,a,Nice weather.,fine,man,1
7,b,Go home.,fine,woman,0.5
7,c,Go home.,wrong,woman,2
9,b,Nice weather.,fine,woman,0.5
"""
VOTE = {"vote": "label", "item": "item", "person": "who"}


def people(tmp_path, text=PEOPLE, **fields):
    path = tmp_path / "people.csv"
    path.write_text(text)
    return read(path, **VOTE | fields)


def test_people_are_counted_into_items(tmp_path):
    got = people(tmp_path)
    assert [(e.id, e.text, e.counts) for e in got] == [
        ("7", "Go home.", (2.0, 1.0)),
        ("9", "Nice weather.", (0.0, 2.0)),
    ]
    assert [e.counts for e in people(tmp_path, weight="weight")] == [(3.0, 0.5), (0.0, 1.5)]


def test_a_row_for_each_item_and_group_that_no_split_parts(tmp_path):
    got = people(tmp_path, by="gender")
    assert {(e.id, e.counts) for e in got} == {
        ("7 man", (1.0, 0.0)),
        ("7 woman", (1.0, 1.0)),
        ("9 man", (0.0, 1.0)),
        ("9 woman", (0.0, 1.0)),
    }
    assert all(e.groups == {"gender": e.id.split()[1]} for e in got)
    items = [{e.keys for e in got if e.id.startswith(item)} for item in "79"]
    assert all(len(keys) == 1 for keys in items)
    assert items[0] != items[1]


def test_people_who_state_no_group_are_a_group_with_a_name(tmp_path):
    got = people(tmp_path, PEOPLE.replace("wrong,woman", "wrong,"), by="gender")
    assert {(e.id, e.counts, e.groups["gender"]) for e in got if e.id.startswith("7")} == {
        ("7 man", (1.0, 0.0), "man"),
        ("7 woman", (0.0, 1.0), "woman"),
        ("7 not stated", (1.0, 0.0), "not stated"),
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("9,b", "9,a", "people.csv:6: field 'who': found 'a', expected one vote of a person on an item"),
        (
            "7,c,Go home.",
            "7,c,Go out.",
            "people.csv:5: field 'text': found 'Go out.', expected what .*people.csv:2 has",
        ),
        ("7,c,Go home.,wrong", "7,c,Go home.,", "field 'label': found None, expected the label that a person gave"),
        ("7,c,Go home.,wrong", "7,c,Go home.,odd", "found 'odd', expected one of 'wrong', 'fine'"),
        ("7,c,", ",c,", "field 'item': found None, expected the item"),
    ],
)
def test_a_vote_that_is_none_is_named(tmp_path, old, new, message):
    with pytest.raises(UserError, match=message):
        people(tmp_path, PEOPLE.replace(old, new, 1))


def test_several_questions_of_a_row_stay_together():
    values = {"id": "1", "text": "x", "soft": {"a": {"1": 1.0, "0": 0.0}, "b": {"1": 0.25, "0": 0.75}}, "n": 4}
    fields = FieldsConfig(
        each="a=about a|b",
        question="Is it {each words}?",
        options="yes|no",
        codes="1|0",
        counts="soft.{each}",
        total="n",
    )
    got = examples(Row(values, "f:1"), TaskConfig(name="votes", fields=fields))
    assert [(e.id, e.question, e.counts) for e in got] == [
        ("1 a", "Is it about a?", (4.0, 0.0)),
        ("1 b", "Is it b?", (1.0, 3.0)),
    ]
    assert got[0].keys == got[1].keys != ()
    assert [e.groups for e in got] == [{"question": "a"}, {"question": "b"}]


def test_several_questions_of_a_person(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("item,text,Q1,Q2\n7,x,wrong,fine\n7,x,wrong,\n8,y,,fine\n")
    got = read(path, vote="{each}", item="item", each="Q1|Q2", question="{each}?")
    assert {(e.id, e.counts) for e in got} == {("7 Q1", (2.0, 0.0)), ("7 Q2", (0.0, 1.0)), ("8 Q2", (0.0, 1.0))}


def test_a_scale_has_places():
    assert positions(("1 (never)", "2", "10 (always)")) == (1.0, 2.0, 10.0)
    assert positions(("-3", "0", "1.5")) == (-3.0, 0.0, 1.5)
    assert positions(("never", "sometimes", "always")) == (0.0, 1.0, 2.0)
    values = {"question": "?", "text": "x", "options": ["1", "2"], "counts": [1, 1]}
    assert examples(Row(values, "f:1"), TaskConfig(name="votes", scale=True))[0].positions == (1.0, 2.0)
    assert examples(Row(values, "f:1"), TaskConfig(name="votes"))[0].positions == ()


SCENES = [{"id": str(i), "scene": f"s{i}", "story": f"He left {i}.", "counts": [3, 1]} for i in range(5)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"text": "{storry}"},
            r"no row has the column 'storry' \(config.task.fields.text='{storry}'\); did you mean 'story'",
        ),
        ({"text": "{story}", "key": "{sceen}"}, r"'sceen' \(config.task.fields.key='{sceen}'\); did you mean 'scene'"),
        (
            {"text": "{story}", "group": "{cuontry}"},
            "no row has the column 'cuontry'.*columns: 'id', 'scene', 'story', 'counts'",
        ),
        ({}, "no row has the column 'text'"),
        ({"text": "{story}", "counts": "votes"}, "no row has the column 'votes'"),
        ({"text": "{story}", "id": "{name}"}, "no row has the column 'name'"),
    ],
)
@pytest.mark.fault(
    "a setting that names a column that no row has",
    promise="refused before anything is computed, with the nearest name and the columns that are there",
)
def test_a_column_that_no_row_has_is_a_mistake(tmp_path, fields, message):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path / "rows.jsonl", SCENES), **fields)


def test_a_column_that_some_rows_have_may_be_absent_in_others(tmp_path):
    rows = [row | ({"note": "n"} if i == 2 else {}) for i, row in enumerate(SCENES)]
    assert len(read(write(tmp_path / "rows.jsonl", rows), text="{story} {note}")) == 5


@pytest.mark.fault(
    "several bad rows in one file",
    promise="all are named at once, the first twenty and how many; or left out and counted",
)
def test_all_bad_rows_are_named_at_once_or_left_out(tmp_path):
    rows = [row | {"counts": [0, 0]} if i % 2 else row for i, row in enumerate(SCENES * 10)]
    path = write(tmp_path / "rows.jsonl", [row | {"id": str(i)} for i, row in enumerate(rows)])
    with pytest.raises(UserError) as caught:
        read(path, text="{story}")
    message = str(caught.value)
    assert "25 bad rows; the first 20:" in message
    assert message.count("expected at least one vote") == 20
    assert "config.task.on_bad_row=drop" in message
    config = TaskConfig(name="votes", path=path, on_bad_row="drop", fields=FieldsConfig(**FIXED | {"text": "{story}"}))
    assert len(reading.read(path, config).examples) == 25
    assert load.load(config).provenance["bad rows dropped"] == 25


@pytest.mark.fault(
    "training rows that share a key or the question with a test file, or are the test file",
    promise="they are dropped and counted; refused where all are shared",
)
def test_a_training_row_that_shares_a_key_or_question_with_a_test_file_is_dropped(tmp_path):
    train = write(tmp_path / "train.jsonl", SCENES)
    others = [{"id": "a", "scene": "s1", "story": "Another.", "counts": [1, 1]}, SCENES[3] | {"id": "b", "scene": "z"}]
    test = write(tmp_path / "test.jsonl", others)
    fields = FieldsConfig(**FIXED | {"text": "{story}", "key": "{scene}"})
    config = TaskConfig(name="votes", path=train, test_path=test, validation=0.0, fields=fields)
    data = load.load(config)
    assert sorted(e.id for e in data.train) == ["0", "2", "4"]
    assert data.provenance["rows dropped, as they share a key with another split"] == 2
    with pytest.raises(UserError, match="each of its rows is also in"):
        load.load(TaskConfig(name="votes", path=train, test_path=train, validation=0.0, fields=fields))
