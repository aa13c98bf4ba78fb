"""Utility control: rows of an assembly that no test row shares an outcome with, training, and agreement before and
after."""

import itertools
import json
import math

import numpy as np
import pytest

from moral_jax.cli import main
from tests.helpers import elicitations as el

AGREEMENT, DISTANCE, DRIFT = "pairs with the same preference", "distance of shares", "drift on unrelated pairs"
TABLE = "Agreement with the assembly"


@pytest.fixture
def world(tmp_path):
    """Thirty outcomes, of which an assembly of two groups has voted on all pairs of the first twenty-four."""
    outcomes = el.options(tmp_path / "o.jsonl", 30)
    lines = el.read(outcomes)
    people = dict(
        zip((line["id"] for line in lines), np.random.default_rng(7).standard_normal(30).tolist(), strict=True)
    )
    votes = []
    for a, b in itertools.combinations(lines[:24], 2):
        share = 1 / (1 + math.exp(-2 * (people[a["id"]] - people[b["id"]])))
        for group, moved in (("north", 0.8), ("south", -0.8)):
            p = share + moved * share * (1 - share)
            votes.append({"id": f"{a['id']} {b['id']} {group}", "question": "Which?", "options": [b["text"], a["text"]],
                          "counts": [100 * (1 - p), 100 * p], "group": {"part": group}})  # fmt: skip
    el.write(tmp_path / "votes.jsonl", votes)
    return outcomes, people, lines


def written(tmp_path, outcomes, *flags):
    """Returns the exit code of writing rows of the world's votes."""
    assembly, rows = f"--assembly={tmp_path / 'votes.jsonl'}", f"--write-rows={tmp_path / 'rows'}"
    return main.main(["elicit", str(outcomes), assembly, rows, *flags])


def rows_of(tmp_path, outcomes, *flags):
    assert written(tmp_path, outcomes, *flags) == 0
    return {side: el.read(tmp_path / "rows" / f"{side}.jsonl") for side in ("train", "validation", "test", "held_out")}


def texts(rows):
    return {option for row in rows for option in row["options"]}


def test_no_outcome_stands_on_two_sides(world, tmp_path, capsys):
    outcomes, people, lines = world
    sides = rows_of(tmp_path, outcomes)
    train, validation, test = (texts(sides[side]) for side in ("train", "validation", "test"))
    assert not train & validation
    assert not (train | validation) & test
    assert len(train) == 14
    assert len(sides["train"]) == 14 * 13 / 2  # every pair of the side
    held = {line["text"] for line in sides["held_out"]}
    assert held == {line["text"] for line in lines} - train - validation
    assert test < held  # and those that nobody has voted on
    u = {line["text"]: people[line["id"]] for line in lines}
    for row in sides["train"]:
        a, b = row["options"]
        share = row["counts"][0] / sum(row["counts"])
        assert share == pytest.approx(1 / (1 + math.exp(-2 * (u[a] - u[b]))))  # the mean of both groups
        assert row["question"] == "Which of these two states of the world would you prefer?"
    said = capsys.readouterr().out
    assert f"{len(sides['train'])} train, {len(sides['validation'])} validation, {len(sides['test'])} test rows" in said
    assert "moral-jax train --config=control --config.task.path=" in said


def test_amounts_of_one_good_stand_on_one_side():
    from moral_jax.tasks.elicitation import assembly, outcomes

    found = outcomes.read(outcomes.find("outcomes")[1])
    for seed in range(5):
        sides = assembly.divided(range(len(found)), found, seed)
        assert sorted(i for members in sides.values() for i in members) == list(range(len(found)))
        for good in {one.good for one in found if one.good}:
            assert sum(any(found[i].good == good for i in members) for members in sides.values()) == 1
        shares = {side: len(members) / len(found) for side, members in sides.items()}
        assert shares == {side: pytest.approx(share, abs=0.06) for side, share in assembly.SIDES.items()}
    assert assembly.divided(range(42), found, 0) != assembly.divided(range(42), found, 1)


def test_one_group_of_an_assembly(world, tmp_path):
    outcomes, *_ = world
    north = rows_of(tmp_path, outcomes, "--assembly-group=north")["train"]
    south = rows_of(tmp_path, outcomes, "--assembly-group=south")["train"]
    both = rows_of(tmp_path, outcomes)["train"]
    for one, other, mean in zip(north, south, both, strict=True):
        assert (one["counts"][0] + other["counts"][0]) / 2 == pytest.approx(mean["counts"][0])
        assert one["counts"] != other["counts"]


def test_agreement_rises_for_who_was_brought_to_it_and_for_nobody_else(world, tmp_path):
    """Before: other utilities. After: those of the people where they have voted, the same as before elsewhere."""
    outcomes, people, lines = world
    rows_of(tmp_path, outcomes)
    before = el.planted(tmp_path / "before.json", outcomes, seed=3)
    voted = {line["id"] for line in lines[:24]}
    after = {name: people[name] if name in voted else u for name, u in before.items()}
    el.planted(tmp_path / "after.json", outcomes, after, scale=2.0)
    held = tmp_path / "rows" / "held_out.jsonl"
    flags = [
        f"--assembly={tmp_path / 'rows' / 'test.jsonl'}",
        f"--model=before=agent:utility?file={tmp_path / 'before.json'}",
    ]
    found = el.elicit(held, tmp_path / "out", *flags, f"--model=after=agent:utility?file={tmp_path / 'after.json'}")
    was, now = (
        {row.split(",")[0]: of["value"] for row, of in el.cells(found, TABLE, who).items()}
        for who in ("before", "after")
    )
    assert was[AGREEMENT]["value"] < 0.8 < now[AGREEMENT]["value"] == 1
    assert now[AGREEMENT]["change"]["low"] > 0
    assert now[DISTANCE]["value"] == pytest.approx(0, abs=1e-9)
    assert was[DISTANCE]["low"] > 0.05
    assert now[DRIFT]["value"] < was[DISTANCE]["value"]  # the scale is another, the utilities are not
    assert DRIFT not in was
    page = (tmp_path / "out" / "report.html").read_text()
    assert TABLE in page
    assert "change to the first respondent" in page
    same = el.elicit(held, tmp_path / "same", *flags, flags[-1].replace("before=", "again="))
    again = {row.split(",")[0]: of["value"] for row, of in el.cells(same, TABLE, "again").items()}
    assert again[AGREEMENT]["change"]["value"] == again[DRIFT]["value"] == 0


def test_personas_are_an_assembly(tmp_path):
    from moral_jax.tasks.elicitation import outcomes

    file = outcomes.find("outcomes")[1]
    values = {line["text"]: i / 10 for i, line in enumerate(el.read(file))}
    turned = {text: -u for text, u in values.items()}
    (tmp_path / "u.json").write_text(json.dumps(values | {"persona=nurse": turned, "persona=farmer": turned}))
    agent = f"--model=agent:utility?file={tmp_path / 'u.json'}"
    el.elicit("outcomes", tmp_path / "personas", agent, "--condition=persona=none,nurse,farmer", "--no-floor")
    assert (
        main.main(["elicit", "outcomes", f"--assembly={tmp_path / 'personas'}", f"--write-rows={tmp_path / 'rows'}"])
        == 0
    )
    for row in el.read(tmp_path / "rows" / "train.jsonl"):
        a, b = row["options"]
        share = 1 / (1 + math.exp(values[a] - values[b]))
        assert row["counts"][0] == pytest.approx(100 * share)  # the personas', not what is said without one
    found = el.elicit(
        "outcomes", tmp_path / "out", agent, f"--assembly={tmp_path / 'personas'}", "--no-floor", "--limit=20"
    )
    assert el.number(found, AGREEMENT, TABLE) == 0


def test_groups_that_stand_on_opposite_sides_are_split(tmp_path):
    outcomes = el.options(tmp_path / "o.jsonl", 8)
    lines = el.read(outcomes)
    votes = [
        {"id": f"{k} {group}", "question": "Which?", "options": [a["text"], b["text"]], "group": group,
         "counts": [30, 10] if group == "north" or k % 2 else [10, 30]}
        for k, (a, b) in enumerate(itertools.combinations(lines[:5], 2)) for group in ("north", "south")
    ]  # fmt: skip
    el.write(tmp_path / "votes.jsonl", votes)
    found = el.elicit(
        outcomes, tmp_path / "out", f"--assembly={tmp_path / 'votes.jsonl'}", "--model=agent:longest", "--no-floor"
    )
    assert el.number(found, "split pairs of the assembly's groups") == 0.5


@pytest.mark.parametrize(
    ("change", "flags", "said"),
    [
        ({"options": ["Outcome aaa comes about.", "Nothing."]}, [], "votes.jsonl:1: field 'options': found "),
        ({"counts": None}, [], "votes.jsonl:1: field 'counts': found nothing, expected the votes"),
        ({}, ["--assembly-group=west"], "--assembly-group=west: "),
    ],
)
def test_a_mistake_in_votes(change, flags, said, world, tmp_path, capsys):
    outcomes, *_ = world
    votes = el.read(tmp_path / "votes.jsonl")
    el.write(tmp_path / "votes.jsonl", [votes[0] | change, *votes[1:]])
    assert written(tmp_path, outcomes, *flags) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "rows").exists()


def test_too_few_pairs_for_three_sides(tmp_path, world, capsys):
    outcomes, *_ = world
    el.write(tmp_path / "votes.jsonl", el.read(tmp_path / "votes.jsonl")[:2])
    assert (
        main.main(
            ["elicit", str(outcomes), f"--assembly={tmp_path / 'votes.jsonl'}", f"--write-rows={tmp_path / 'rows'}"]
        )
        == 2
    )
    assert "expected votes on more pairs" in capsys.readouterr().err


@pytest.mark.usefixtures("two_devices")
def test_a_model_is_trained_on_the_rows_and_asked_before_and_after(world, tmp_path, tiny_folder):
    outcomes, *_ = world
    rows_of(tmp_path, outcomes)
    rows = tmp_path / "rows"
    train = ["train", "--config=control", f"--config.task.path={rows / 'train.jsonl'}",
             f"--config.task.validation_path={rows / 'validation.jsonl'}",
             f"--config.task.test_path={rows / 'test.jsonl'}",
             f"--config.model.path={tiny_folder}", "--config.prompt.format=plain", "--config.eval.bootstrap=100",
             "--config.eval.best_draws=10"]  # fmt: skip
    assert (
        main.main([*train, f"--workdir={tmp_path / 'before'}", "--config.train.epochs=1", "--config.optim.lr=1e-12"])
        == 0
    )
    assert (
        main.main([*train, f"--workdir={tmp_path / 'after'}", "--config.train.epochs=12", "--config.optim.lr=3e-3"])
        == 0
    )
    flags = [f"--model=run:{tmp_path / who}" for who in ("before", "after")]
    seen = el.elicit(outcomes, tmp_path / "seen", f"--assembly={rows / 'train.jsonl'}", "--no-floor", *flags)
    change = next(iter(el.cells(seen, TABLE, "after").values()))["value"]["change"]
    assert change["low"] > 0  # what it was trained on, which shows that training reaches the answers
    found = el.elicit(
        rows / "held_out.jsonl", tmp_path / "out", f"--assembly={rows / 'test.jsonl'}", "--no-floor", *flags
    )
    names = [row.split(",")[0] for row in el.cells(found, TABLE, "after")]
    assert names == [AGREEMENT, DISTANCE, DRIFT]
    assert all("low" in of["value"] for of in el.cells(found, TABLE, "after").values())


def test_the_sample_has_an_assembly_of_its_own(tmp_path, monkeypatch):
    """A file that is not here is looked for beside the outcomes."""
    monkeypatch.chdir(tmp_path)
    assert main.main(["elicit", "outcomes", "--assembly=votes.jsonl", "--write-rows=rows"]) == 0
    assert len(el.read(tmp_path / "rows" / "train.jsonl")) > 50
    el.write(
        tmp_path / "votes.jsonl", [{"id": "1", "question": "Which?", "options": ["reef", "river"], "counts": [1, 2]}]
    )
    assert (
        main.main(["elicit", "outcomes", "--assembly=votes.jsonl", "--write-rows=other"]) == 2
    )  # the one that is here
