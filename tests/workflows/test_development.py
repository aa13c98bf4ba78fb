"""Records of AI Development Support through the command: a planted writer writes them, a judge of a file rates them."""

import json

import pytest

from moral_jax.cli import main
from moral_jax.respondents import planted
from moral_jax.tasks import development
from moral_jax.workflows.development import ASK
from tests.helpers import questionnaires

SAYS = ["selfish", "lawful", "just", "kind"]
JUDGE = """
def stage(replies):
    assert all("Experience:" not in r.example.text for r in replies)
    known = {"selfish": 2, "lawful": 4, "just": 5.5, "kind": 6}
    return [None if "mute" in r.text else sum(known[w] for w in r.text.split()) / 4 for r in replies]
stage.range = (1, 6)
def loud(replies):
    return [7.0] * len(replies)
"""


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def task(tmp_path):
    rows = [{"id": f"s{i}", "situation": f"You found {i} coins.", "temptation": "Nobody saw it."} for i in range(6)]
    lines(tmp_path / "scenarios.jsonl", [*rows[:5], rows[5] | {"experience": "I once kept a coin."}])
    (tmp_path / "writer.json").write_text(json.dumps({"says": SAYS, "token": "mute", "base": 0.1}))
    (tmp_path / "stage.py").write_text(JUDGE)
    return tmp_path


def command(task, out, *flags):
    return ["development", str(task / "scenarios.jsonl"), f"--model=scripted:planted?file={task / 'writer.json'}",
            f"--judge={task / 'stage.py'}:stage", f"--out={out}", *map(str, flags)]  # fmt: skip


def test_each_part_is_written_after_the_parts_before_it(task, monkeypatch, capsys):
    asked, write = [], planted.Planted.write
    monkeypatch.setattr(planted.Planted, "write", lambda self, p, n, seed: asked.extend(p) or write(self, p, n, seed))
    assert main.main(command(task, task / "records", "--replies=3")) == 0
    said = capsys.readouterr().out
    found = read(task / "records" / "replies.jsonl")
    assert f"{len(found)} records; left out: {18 - len(found)} without one of their parts or a stage" in said
    assert 0 < len(found) < 18  # of some replies the judge cannot say a stage
    assert "unchecked" in said
    for row in found:
        number = row["scenario"][1:]
        parts = [row[part] for part in development.CYCLE]
        assert len(set(parts)) > 1
        for i, part in enumerate(ASK):
            told = [f"{n.capitalize()}: {t}" for n, t in zip(development.CYCLE[:i], parts[:i], strict=True)]
            begin = "\n\n".join([f"You found {number} coins.\n\nNobody saw it.", *told])
            assert any(p.startswith(f"{begin}\n\n{ASK[part]}") for p in asked) or (part, number) == ("experience", "5")
    assert {row["experience"] for row in found if row["scenario"] == "s5"} == {"I once kept a coin."}
    assert len({row["reply"] for row in found if row["scenario"] == "s0"}) > 1
    known = dict(zip(SAYS, (2, 4, 5.5, 6), strict=True))
    assert all(row["stage"] == sum(known[w] for w in row["reply"].split()) / 4 for row in found)


def test_records_become_rows_of_the_study(task, capsys):
    assert main.main(command(task, task / "records", "--replies=6")) == 0
    rows = ["development", str(task / "records"), f"--out={task / 'rows'}", "--least=4.5", "--gap=1"]
    assert main.main(rows) == 0
    assert all(high - low >= 1 for row in read(task / "rows" / "pairs.jsonl") for high, low in [row["stages"]])
    stages = {row["reply"]: row["stage"] for row in read(task / "records" / "replies.jsonl")}
    assert all(stages[row["completion"]] >= 4.5 for row in read(task / "rows" / "texts.jsonl"))
    assert main.main(rows) == 2
    assert "exists already; name a new folder" in capsys.readouterr().err


def test_a_killed_call_goes_on_and_writes_nothing_twice(task, monkeypatch):
    assert main.main(command(task, task / "whole")) == 0
    questionnaires.killed(*command(task, task / "out"), at=9, part=2)
    assert not (task / "out" / "replies.jsonl").exists()
    before = list(map(json.loads, (task / "out" / "log.jsonl").read_text().splitlines()[:-1]))
    asked, write = [], planted.Planted.write
    monkeypatch.setattr(planted.Planted, "write", lambda self, p, n, seed: asked.extend(p) or write(self, p, n, seed))
    assert main.main(command(task, task / "out")) == 0
    assert read(task / "out" / "replies.jsonl") == read(task / "whole" / "replies.jsonl")
    known = sum(row["kind"] in ASK for row in before)
    assert len(asked) == sum(row["kind"] in ASK for row in read(task / "whole" / "log.jsonl")) - known > 0
    assert main.main(command(task, task / "out", "--seed=1")) == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["{s}", "--model={w}"], "--judge=JUDGE is needed, once"),
        (["{s}", "--model={w}", "--judge={j}:loud"], "says 7 of a reply; expected a stage from 1 to 6"),
        (["{s}", "--model={w}", "--judge={j}:stage", "--gap=1"], "--gap: is not read, as --model writes records"),
        (["{s}", "--model={w}", "--judge={j}:stage", "--temperature=0"], "--replies=4: expected 1, as all records"),
        (["{s}", "--model={w}", "--judge=rubric:stages@{w}"], "is the model that writes, and would rate itself"),
        (["{s}", "--model=scripted:uniform", "--judge={j}:stage"], "writes no completions"),
        (["{j}", "--model={w}", "--judge={j}:stage"], "stage.py"),
        (["{s}"], "is no folder of records; to have a model write some, pass --model and --judge"),
        (["{d}", "--replies=2"], "--replies: is not read, as no --model is named"),
        (["{d}", "--judge={j}:stage"], "--judge: is not read, as no --model is named"),
        (["{d}", "--least=7"], "--least=7.0: expected a stage from 1 to 6"),
        (["{d}", "--test=0"], "--test=0.0: expected a share above 0"),
    ],
)
def test_what_is_refused(task, capsys, flags, said):
    places = {"s": task / "scenarios.jsonl", "w": f"scripted:planted?file={task / 'writer.json'}",
              "j": task / "stage.py", "d": task}  # fmt: skip
    assert main.main(["development", *(f.format(**places) for f in flags), f"--out={task / 'out'}"]) == 2
    assert said in capsys.readouterr().err
    assert not (task / "out" / "log.jsonl").exists()


def test_two_scenarios_of_one_id_are_named(task, capsys):
    lines(task / "scenarios.jsonl", [{"id": "a", "situation": "x", "temptation": "y"}] * 2)
    assert main.main(command(task, task / "out")) == 2
    assert (
        "scenarios.jsonl:2: field 'id': found 'a', expected an id that no other scenario has" in capsys.readouterr().err
    )
