"""From a config to divided rows."""

import pytest

from moral_jax.config.task import TaskConfig
from moral_jax.tasks import load, reading, synthetic
from moral_jax.types import UserError
from tests.tasks.test_scruples import DILEMMA, dilemma, write


def test_unknown_task_names_the_known():
    with pytest.raises(UserError, match=r"config.task.name='dilemas'.*dilemmas, anecdotes"):
        load.load(TaskConfig(name="dilemas"))


def test_votes_needs_a_path():
    with pytest.raises(UserError, match="config.task.path is not set"):
        load.load(TaskConfig(name="votes"))


def test_ids_must_differ(tmp_path):
    path = write(tmp_path / "d.jsonl", DILEMMA, DILEMMA)
    with pytest.raises(UserError, match="the id 'd1' appears in two rows"):
        reading.read(str(path), TaskConfig())


def test_an_empty_file_is_named(tmp_path):
    path = write(tmp_path / "d.jsonl")
    with pytest.raises(UserError, match="holds no rows"):
        reading.read(str(path), TaskConfig())


def test_own_files_are_taken_as_they_are(tmp_path):
    train = write(tmp_path / "t.jsonl", *(dilemma(f"t{i}") for i in range(10)))
    test = write(tmp_path / "e.jsonl", *(dilemma(f"e{i}") for i in range(4)))
    data = load.load(TaskConfig(path=str(train), test_path=str(test), validation=0.0))
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 0, 4)


def test_limit_keeps_the_same_rows_for_every_file_order(tmp_path):
    rows = [
        DILEMMA | {"id": f"t{i}", "actions": [{"id": f"{i}{k}", "description": "x"} for k in "ab"]} for i in range(40)
    ]
    one = load.load(TaskConfig(path=str(write(tmp_path / "a.jsonl", *rows)), limit=3))
    two = load.load(TaskConfig(path=str(write(tmp_path / "b.jsonl", *reversed(rows))), limit=3))
    assert one.train == two.train
    assert len(one.train) == len(one.test) == 3


def test_the_synthetic_sample_says_so_and_is_the_same_every_time():
    data = load.load(TaskConfig(name="synthetic"))
    assert "SYNTHETIC" in data.provenance["description"]
    assert data == load.load(TaskConfig(name="synthetic"))
    examples = synthetic.examples()
    assert len(examples) == len({e.id for e in examples}) == 300
    assert all(sum(e.counts) == sum(e.second_counts) == 5 for e in examples)
    assert data.provenance["rows dropped, as they share a key with another split"] == 0


def test_synthetic_votes_follow_severity():
    severity = dict(synthetic.read_actions())
    examples = synthetic.examples()
    worse = [e.counts[0] if severity[e.options[0]] > severity[e.options[1]] else e.counts[1] for e in examples]
    assert 3.5 < sum(worse) / len(worse) < 4.6


def test_a_smaller_share_of_the_training_rows_lies_in_a_larger():
    """Nested, as large as asked, and validation and test stay as they are."""
    whole, half, tenth = (load.load(TaskConfig(name="synthetic", train_share=x)) for x in (1.0, 0.5, 0.1))
    ids = [{e.id for e in data.train} for data in (tenth, half, whole)]
    assert ids[0] < ids[1] < ids[2]
    assert [len(x) for x in ids] == [round(0.1 * len(whole.train)), round(0.5 * len(whole.train)), len(whole.train)]
    assert half.validation == tenth.validation == whole.validation
    assert half.test == tenth.test == whole.test
    assert half.provenance["rows"]["train"] == len(half.train)


def test_the_shares_of_rows_of_another_order_are_the_same(tmp_path):
    rows = [
        DILEMMA | {"id": f"t{i}", "actions": [{"id": f"{i}{k}", "description": "x"} for k in "ab"]} for i in range(40)
    ]
    paths = [str(write(tmp_path / f"{n}.jsonl", *some)) for n, some in (("a", rows), ("b", rows[::-1]))]
    one, two = (load.load(TaskConfig(path=p, train_share=0.3)) for p in paths)
    assert one.train == two.train
    assert len(one.train) == round(0.3 * 28)


def test_majority_moves_the_votes_of_training_rows_alone():
    votes, majority = (load.load(TaskConfig(name="synthetic", majority=m)) for m in (False, True))
    assert (votes.validation, votes.test) == (majority.validation, majority.test)
    for before, after in zip(votes.train, majority.train, strict=True):
        assert after._replace(counts=before.counts) == before
        assert sorted(after.counts) == [0.0, 5.0]
        assert after.counts.index(5.0) == before.counts.index(max(before.counts))
    assert load.of_majority((2.0, 2.0, 1.0)) == (2.5, 2.5, 0.0)
