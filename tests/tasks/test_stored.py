"""Tests large sets of examples: stored once, mapped into memory, and divided as lists are."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from moral_jax.config.task import FieldsConfig, TaskConfig
from moral_jax.runtime.files import cache_folder
from moral_jax.tasks import load, reading, stored
from moral_jax.types import Example

ROWS = [
    {"id": str(i), "scene": f"s{i // 2}", "text": f"He left {i}.", "question": "Wrong?", "options": ["yes", "no"],
     "counts": [i % 4, 1], "messages": [{"role": "system", "content": "You judge."}]}
    for i in range(40)
]  # fmt: skip


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    fields = FieldsConfig(key="{scene}", group="{scene}")
    return TaskConfig(name="votes", path=str(path), scale=True, fields=fields)


def test_stored_rows_are_those_of_a_list(config, monkeypatch):
    listed = load.load(config)
    monkeypatch.setattr(stored, "IN_MEMORY", 10)
    mapped = load.load(config)
    for side in ("train", "validation", "test"):
        rows = getattr(mapped, side)
        assert isinstance(rows, stored.StoredExamples)
        assert list(rows) == list(getattr(listed, side)) == [rows[i] for i in range(len(rows))]
        assert list(rows[1:3]) == list(rows)[1:3]
    assert mapped.provenance == listed.provenance


def test_a_second_start_reads_no_row(config, monkeypatch):
    monkeypatch.setattr(stored, "IN_MEMORY", 10)
    first = list(reading.read(config.path, config).examples)

    def never(*_):
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(load.registry.votes, "examples", never)
        patch.setitem(load.registry.TASKS, "votes", load.registry.TASKS["votes"]._replace(examples=never))
        assert list(reading.read(config.path, config).examples) == first


@pytest.mark.parametrize("change", [{"scale": False}, {"fields": FieldsConfig(key="{scene}")}, {"total_votes": 10.0}])
def test_other_settings_are_other_rows(config, monkeypatch, change):
    monkeypatch.setattr(stored, "IN_MEMORY", 10)
    before = list(reading.read(config.path, config).examples)
    changed = TaskConfig(**{"name": "votes", "path": config.path, "scale": True, "fields": config.fields} | change)
    assert list(reading.read(config.path, changed).examples) != before


def test_a_changed_file_is_read_again(config, monkeypatch):
    monkeypatch.setattr(stored, "IN_MEMORY", 10)
    reading.read(config.path, config)
    with open(config.path, "a") as out:
        out.write(json.dumps(ROWS[0] | {"id": "new"}) + "\n")
    assert len(reading.read(config.path, config).examples) == 41


def test_rows_of_a_file_that_was_refused_are_not_found_later(config, monkeypatch):
    monkeypatch.setattr(stored, "IN_MEMORY", 10)
    with open(config.path, "a") as out:
        out.write(json.dumps(ROWS[0]) + "\n")
    for _ in range(2):
        with pytest.raises(load.UserError, match="the id '0' appears in two rows"):
            reading.read(config.path, config)


def test_a_missing_second_panel_stays_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr(stored, "IN_MEMORY", 1)
    rows = [Example(str(i), "?", ("a", "b"), (1.0, 0.0), second_counts=(0.0, 1.0) if i else None) for i in range(3)]
    found, is_stored = stored.collect(iter(rows), "k")
    assert is_stored
    assert list(found) == rows


def test_a_file_that_another_process_writes_is_waited_for(config, monkeypatch):
    examples = list(reading.read(config.path, config).examples)
    monkeypatch.setattr(stored, "IN_MEMORY", 10)
    lock = cache_folder() / "rows" / "k.lock"
    lock.parent.mkdir(parents=True)
    with ThreadPoolExecutor(1) as pool:
        with FileLock(lock):
            waiting = pool.submit(stored.collect, iter(examples), "k")
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
            assert not list(lock.parent.glob("*.partial"))
        rows, _ = waiting.result(timeout=60)
    assert list(rows) == examples
