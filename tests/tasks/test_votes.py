"""Any JSONL as a task: real sets of two to seven and more options, without code."""

import gzip
from pathlib import Path

import pytest

from moral_jax.config import parsing
from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.tasks import load
from moral_jax.tasks.rows import Row
from moral_jax.tasks.votes import examples
from moral_jax.types import UserError

ROOT = Path(__file__).resolve().parents[2]
ROW = {"id": "r1", "text": "He lied.", "question": "Was it wrong?", "options": ["yes", "no"], "counts": [3, 2]}


def read(row, total=None, **fields):
    [one] = examples(Row(row, "f.jsonl:7"), TaskConfig(name="votes", fields=FieldsConfig(**fields), total_votes=total))
    return one


def test_the_plain_format_needs_no_fields():
    got = read(ROW)
    assert (got.id, got.text, got.question, got.options, got.counts) == (
        "r1",
        "He lied.",
        "Was it wrong?",
        ("yes", "no"),
        (3, 2),
    )


def test_templates_reach_into_objects_and_join_fields():
    row = {"a": {"b": "deep"}, "c": "flat", "options": ["x", "y"], "n_x": 1, "n_y": 0}
    got = read(row, text="{a.b} and {c}", question="Well?", counts="n_x|n_y", group="{c}", key="{a.b}")
    assert (got.text, got.counts, got.groups, got.keys) == ("deep and flat", (1.0, 0.0), {"c": "flat"}, ("deep",))
    assert got.id == "line 7"


def test_options_of_columns_and_a_label_that_has_commas():
    """A label that is a whole option is that option; any other text with commas is a list."""
    row = {"a": "He lied, once.", "b": "He left", "said": "He lied, once.", "both": "1,0,1"}
    got = read(row, text="", question="Worse?", options="{a}|{b}", labels="said")
    assert (got.options, got.counts) == (("He lied, once.", "He left"), (1, 0))
    assert read(row, text="", question="Worse?", options="{a}|{b}", labels="both", codes="1|0").counts == (2, 1)


def test_messages_come_before_the_question():
    turns = [{"role": "system", "content": "You are a judge."}, {"role": "user", "content": "He lied."}]
    got = read({"messages": turns, "question": "Wrong?", "options": ["yes", "no"], "counts": [1, 1]})
    assert got.messages == tuple(turns)


def test_shares_become_votes():
    got = read(ROW | {"counts": [0.25, 0.75]}, total=20.0)
    assert got.counts == (5.0, 15.0)


def test_numbers_and_wrapped_texts_are_options():
    assert read(ROW | {"options": ["low", 2.0, ["high"]], "counts": [1, 1, 1]}).options == ("low", "2", "high")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": ["yes"]}, "f.jsonl:7: field 'options'.*at least two options"),
        ({"options": ["yes", ""]}, "at least two options"),
        ({"options": ["yes", "yes "]}, "options that all differ"),
        ({"options": None}, "field 'options': found None, expected a list"),
        ({"counts": [1, 2, 3]}, "field 'counts'.*expected 2 numbers"),
        ({"counts": [0, 0]}, "at least one vote"),
        ({"counts": [float("nan"), 1]}, "found nan, expected a finite number"),
        ({"counts": [float("inf"), 1]}, "found inf"),
        ({"text": "", "question": ""}, "something to judge"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "turns like"),
    ],
)
def test_a_bad_row_is_named(change, message):
    with pytest.raises(UserError, match=message):
        read(ROW | change)


def configured(name, path):
    flags = [f"--config={ROOT / 'configs' / 'votes' / name}.py", f"--config.task.path={path}"]
    return parsing.from_flags(flags).task


@pytest.mark.parametrize(
    ("name", "path", "rows", "options", "votes"),
    [
        ("moca", "moca/moral.jsonl", 62, 2, {24, 25}),
        ("unimoral", "unimoral/unimoral_votes.jsonl.gz", 2928, 2, {3}),
        ("mfv_clifford", "mfv_clifford/mfv_classic_human.jsonl", 132, 7, None),
    ],
)
def test_real_sets_by_their_configs(shared, name, path, rows, options, votes):
    data = load.load(configured(name, shared / path))
    examples = [*data.train, *data.validation, *data.test]
    dropped = data.provenance["rows dropped, as they share a key with another split"]
    assert len(examples) + dropped == rows
    assert dropped < 0.01 * rows
    assert {len(e.options) for e in examples} == {options}
    assert votes is None or {sum(e.counts) for e in examples} <= votes


def test_a_slice_of_globalopinionqa(shared, tmp_path):
    """Two to many options in one file, shares turned into votes."""
    source = shared / "globalopinionqa" / "globalopinionbench_eval.jsonl.gz"
    lines = gzip.decompress(source.read_bytes()).splitlines(keepends=True)[:300]
    (tmp_path / "slice.jsonl").write_bytes(b"".join(lines))
    data = load.load(configured("globalopinionqa", tmp_path / "slice.jsonl"))
    examples = [*data.train, *data.validation, *data.test]
    assert {2, 3, 4, 5} <= {len(e.options) for e in examples}
    assert all(abs(sum(e.counts) - 100) < 1e-6 for e in examples)
    assert not data.train
    assert not data.validation
    assert data.provenance["licence"] == "CC-BY-NC-SA-4.0"
