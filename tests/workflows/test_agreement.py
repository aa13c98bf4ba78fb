"""Rows that people voted on, decided by prescripts: a planted respondent is found, and a constant one is not."""

import json

import pytest

from moral_jax.cli import main
from tests.helpers import questionnaires as q
from tests.helpers.cases import toml

N = 20
CASE = toml(None, [[1, 1], [1, 1], [0, 0]], [0.5, 0.5], [[1, 0, 0], [0, 1, 0]])  # the third weighs nothing
FLAGS = ["--config.task.name=votes", "--resamples=200"]


def made(folder, *flags, case=CASE):
    """Asks about rows of which people judge even ones wrong and odd ones fine; returns tally.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"r{k}", "text": f"Deed {k}.", "question": "What was it?", "options": ["wrong", "fine"],
         "counts": [8, 2] if k % 2 == 0 else [2, 8]}
        for k in range(N)
    ]  # fmt: skip
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "case.toml").write_text(case)
    command = ["decide", str(folder / "case.toml"), f"--rows={folder / 'rows.jsonl'}", f"--out={folder / 'out'}"]
    assert main.main([*command, *FLAGS, *flags]) == 0
    return json.loads((folder / "out" / "decided" / "tally.json").read_text())


def knows(folder):
    """Knows which prescript holds where, and what each alone says, but by itself leans one way everywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {f"r{k}": {"wrong": 0.6, "fine": 0.4} for k in range(N)}
    for i, option in enumerate(("wrong", "fine", "wrong")):
        said[f"prescript=e{i}"] = {f"r{k}": option for k in range(N)}
        said |= {f"r{k} | e{i}": {"yes": y, "no": 1 - y} for k in range(N) for y in [0.8 if k % 2 == i else 0.2]}
    (folder / "knows.json").write_text(json.dumps(said))
    return f"--model=who=scripted:leaning?file={folder / 'knows.json'}"


def values(found, who):
    return q.values(found, "Agreement with people", who)["none"]


def test_prescripts_that_hold_where_they_should_agree_with_people(tmp_path, capsys):
    """Gate, seen red with a constant in the place of who knows."""
    found = made(tmp_path / "knows", knows(tmp_path / "knows"))
    assert found["respondents"] == ["who", "who, by prescripts"]
    own, by = values(found, "who"), values(found, "who, by prescripts")
    assert (own["accuracy"], by["accuracy"]) == (0.5, 1)
    # the shares of P, .8 : .2, are those of the votes
    assert (by["total variation"], by["calibration error"]) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    assert own["total variation"] == pytest.approx(0.3)
    assert "better than the 0.500 of" in capsys.readouterr().out
    cell = found["tables"]["Agreement with people"]["cells"]["who, by prescripts"]["none"]["accuracy"]
    assert cell["told_apart"]
    assert cell["change"]["value"] == 0.5
    for rule in ("constant", "uniform", "first"):
        flat = made(tmp_path / rule, f"--model=scripted:{rule}")
        by = flat["tables"]["Agreement with people"]["cells"][f"scripted:{rule}, by prescripts"]["none"]["accuracy"]
        assert by["value"] == 0.5
        assert not by["told_apart"]


def test_weights_say_how_much_a_prescript_counts(tmp_path):
    one = toml(None, [[1, 1], [0, 0], [0, 0]], [0.5, 0.5], [[1, 0, 0], [0, 1, 0]])
    by = values(made(tmp_path, knows(tmp_path), case=one), "who, by prescripts")
    assert by["accuracy"] == 0.5  # the first prescript alone calls everything wrong
    assert by["total variation"] == pytest.approx(0.5)


def test_what_is_asked_and_what_is_not_asked_twice(tmp_path, capsys):
    made(tmp_path, knows(tmp_path), "--limit=3")
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    assert len(records) == 3 * (1 + 3 + 3)
    texts = {(r["row"], r["condition"].get("prescript")): (r["text"], r["question"], r["counts"]) for r in records}
    assert texts["r1", "none"] == ("Deed 1.", "What was it?", [2, 8])
    assert texts["r1", "e0"] == ("Decide by this alone: Do 0.\n\nDeed 1.", "What was it?", [2, 8])
    assert texts["r1 | e2", None] == ("Deed 1.", "Does this hold here: Do 2.", None)
    made(tmp_path, knows(tmp_path), "--limit=3")
    assert "who: has answered all 21 questions" in capsys.readouterr().out
    decided = (tmp_path / "out" / "decided" / "records.jsonl").read_text().splitlines()
    assert len(decided) == 6


def test_mistakes(tmp_path, capsys):
    for flags, said in (
        (["visit", f"--rows={tmp_path / 'x.jsonl'}"], "a model says what holds in a row; pass --model=... too"),
        (["visit", f"--rows={tmp_path / 'x.jsonl'}", "--model=scripted:first", *FLAGS], "x.jsonl: no such file"),
        (["visit", "--rows=x", "--limit=0", "--model=scripted:first"], "--limit=0: expected at least 1"),
        (["visit", "--rows=x", "--margin=0.1", "--model=scripted:first"], "--margin: is of a choice; with --rows=FILE"),
        (["visit", "--limit=3"], "--limit: is of rows that people voted on; pass --rows=FILE too"),
    ):
        assert main.main(["decide", *flags, f"--out={tmp_path / 'out'}"]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "path"), [("moca", "moca/moral.jsonl"), ("unimoral", "unimoral/unimoral_votes.jsonl.gz")]
)
def test_the_public_votes_are_read(shared, config, path, tmp_path):
    """Reported with a model in docs/decide.md; here with one that reads nothing."""
    flags = [f"--rows={shared / path}", f"--config=votes/{config}", "--limit=12", "--resamples=20"]
    assert main.main(["decide", "trolley", *flags, "--model=scripted:longest", f"--out={tmp_path / 'out'}"]) == 0
    found = json.loads((tmp_path / "out" / "decided" / "tally.json").read_text())
    assert set(values(found, "scripted:longest")) == {
        "accuracy", "total variation", "Jensen-Shannon divergence", "calibration error"}  # fmt: skip
