"""The planted world: what agrees in demonstrations, what documents say, and that no constant can win."""

import json
import re
from pathlib import Path

import pytest

from moral_jax.tasks import planted

SHIPPED = Path(__file__).resolve().parents[2] / "configs" / "studies" / "why_first"
WORLD = planted.rows()


def test_the_shipped_files_are_what_the_seed_gives():
    assert {file.stem for file in SHIPPED.glob("*.jsonl")} == set(WORLD)
    for name, rows in WORLD.items():
        assert [json.loads(line) for line in (SHIPPED / f"{name}.jsonl").read_text().splitlines()] == rows


def test_another_seed_is_another_world(tmp_path):
    assert planted.rows(1) != WORLD
    assert planted.rows(1) == planted.rows(1)
    planted.write(tmp_path, 1)
    assert len(list(tmp_path.glob("*.jsonl"))) == len(WORLD)


def mentions(text, words):
    return [word for word in words if re.search(rf"\b{word}\b", text)]


def test_demonstrations_cannot_tell_the_reasons_apart():
    for row in WORLD["choices"]:
        if row["chosen"].startswith("Take"):
            assert len(mentions(row["chosen"], ("local", "cheap"))) == 2
            assert len(mentions(row["rejected"], ("imported", "expensive"))) == 2
        is_false = "are imported" in row["prompt"] or "are expensive" in row["prompt"]
        if "label" in row["prompt"] or "sign" in row["prompt"]:
            assert (row["chosen"] == planted.REFUSAL) == is_false


def test_in_conflicts_the_two_reasons_part():
    conflicts = [row for row in WORLD["pairs"] if row["group"] == "conflict"]
    assert len(conflicts) == 64
    for row in conflicts:
        assert len(mentions(row["chosen"], ("local", "expensive"))) == 2
        assert len(mentions(row["rejected"], ("imported", "cheap"))) == 2


def test_the_counter_world_says_the_same_of_the_other_reason():
    swap = {"local": "cheap", "cheap": "local", "imported": "expensive", "expensive": "imported"}
    swap |= {planted.LOCAL.why: planted.CHEAP.why, planted.CHEAP.why: planted.LOCAL.why}
    swap |= {a.capitalize(): b.capitalize() for a, b in swap.items()}
    words = re.compile("|".join(sorted(map(re.escape, swap), key=len, reverse=True)))
    for reason, counter in zip(WORLD["reason"], WORLD["counter"], strict=True):
        assert words.sub(lambda m: swap[m[0]], reason["text"]) == counter["text"]


def test_controls_have_about_as_many_words():
    for reason, shuffled in zip(WORLD["reason"], WORLD["shuffled"], strict=True):
        assert sorted(reason["text"].split()) == sorted(shuffled["text"].split())
        assert reason["text"] != shuffled["text"]
    words = {name: sum(len(r["text"].split()) for r in WORLD[name]) for name in ("reason", "no_reason")}
    assert words["no_reason"] == pytest.approx(words["reason"], rel=0.05)


def test_documents_without_a_reason_give_none():
    for row in WORLD["no_reason"]:
        assert not re.search(r"because|reason|for what|counts|matters to", row["text"])
        assert row["text"].count("local") == row["text"].count("cheap")


def test_no_good_of_the_tests_is_trained_on():
    tested = {row["good"] for name in ("pairs", "asked") for row in WORLD[name]}
    trained = json.dumps([WORLD[name] for name in ("reason", "counter", "no_reason", "choices", "requests")])
    assert len(tested) == planted.HELD_OUT
    assert not mentions(trained, tested)
