"""What groups decide, from outside: golden winners, any grouped votes, where ways differ, how sure that is."""

import json

import pytest

from moral_jax.cli import main
from tests.helpers import questionnaires as q

WAYS = ["mean", "plurality", "majority", "worst group", "Borda", "Condorcet", "Nash"]


def rows(groups, options="xyz", question="Which?"):
    return [
        {"id": f"{question}{name}", "question": question, "options": list(options), "counts": counts,
         "group": {"people": name}}
        for name, counts in groups.items()
    ]  # fmt: skip


def tally(folder, *flags):
    assert main.main(["tally", str(folder), "--as=aggregators", f"--out={folder / 'out'}", *flags]) == 0
    return json.loads((folder / "out" / "tally.json").read_text())


def won(found, question="Which?"):
    return {way: "".join(of["options"]) for way, of in found["winners"][question].items()}


def test_golden_ballots(tmp_path):
    """5 people rank x y z, 4 y z x, 3 z y x: plurality x (5, 4, 3), Borda y (16; 10, 10), Condorcet y (7:5, 9:3)."""
    # shares that rank so, of as many votes as people: Borda, plurality and Condorcet read no more of them
    task = q.write(tmp_path / "t", rows({"g1": [3, 2, 0], "g2": [0, 3, 1], "g3": [0, 1, 2]}), toml='tally = "shares"')
    found = tally(task)
    cells = q.values(found, "Which?")
    assert [c["plurality"] for c in cells.values()] == [5, 4, 3]
    assert [c["Borda"] for c in cells.values()] == [10, 16, 10]
    assert [c["Condorcet"] for c in cells.values()] == [0, 2, 1]
    assert list(found["winners"]["Which?"]) == WAYS
    assert (won(found)["plurality"], won(found)["Borda"], won(found)["Condorcet"]) == ("x", "y", "y")
    assert won(found)["majority"] == "xyz"  # each of one group


def test_golden_utilities(tmp_path):
    """g1 (1, .4, 0), g2 (0, 1, .7), g3 (0, .5, 1) of 5, 4 and 3 people: mean .4167, .625, .4833; worst 0, .4, 0."""
    toml = 'tally = "aggregators"\n[settings.people]\ng1 = 5\ng2 = 4\ng3 = 3\n'
    task = q.write(tmp_path / "t", rows({"g1": [1, 0.4, 0], "g2": [0, 1, 0.7], "g3": [0, 0.5, 1]}), toml=toml)
    cells = q.values(tally(task), "Which?")
    assert [c["mean"] for c in cells.values()] == pytest.approx([0.416667, 0.625, 0.483333], abs=1e-6)
    assert [c["worst group"] for c in cells.values()] == [0, 0.4, 0]


def test_the_way_changes_the_printed_winner(tmp_path, capsys):
    """On the shipped example: x, then y."""
    for way, winner in (("plurality", "the hall"), ("Borda", "the park")):
        assert main.main(["tally", "ballots", f"--aggregate={way}", f"--out={tmp_path / way}"]) == 0
        assert f"Where do we meet?: by {way} {winner}; by others " in capsys.readouterr().out


def test_where_ways_differ_stands_in_the_table(tmp_path, capsys):
    of = rows({"a": [6, 3, 1], "b": [5, 4, 1]}, question="All?") + rows({"a": [51, 49, 0], "b": [0, 30, 70]})
    found = tally(q.write(tmp_path / "t", of))
    assert set(won(found, "All?").values()) == {"x"}
    assert won(found)["worst group"] == "y" != won(found)["majority"]
    assert "In 1 of 2 questions the way changes the decision." in found["findings"]
    page = (tmp_path / "t" / "out" / "report.html").read_text()
    assert "Which ways decide alike" in page
    assert page.count(" *</td>") >= 1
    said = capsys.readouterr().out
    assert "Which?: by mean y; by others plurality" in said
    assert "All?: by mean" not in said  # there is nothing to say of it


def test_majority_counts_groups_and_plurality_people(tmp_path):
    found = tally(q.write(tmp_path / "t", rows({"big": [90, 10, 0], "one": [1, 9, 0], "two": [2, 8, 0]})))
    assert (won(found)["plurality"], won(found)["majority"]) == ("x", "y")


def test_few_votes_are_less_sure(tmp_path):
    few = tally(q.write(tmp_path / "few", rows({"a": [4, 3, 0], "b": [4, 3, 0]})))
    many = tally(q.write(tmp_path / "many", rows({"a": [400, 300, 0], "b": [400, 300, 0]})))
    stays = [found["winners"]["Which?"]["mean"]["stays"] for found in (few, many)]
    assert 0.4 < stays[0] < 0.9 < stays[1]


def test_people_in_the_records_of_answers(tmp_path):
    """Whoever answered, and under what condition: people's votes count once."""
    of, conditions = rows({"a": [6, 3, 1], "b": [1, 8, 1]}), [{"id": "kind", "axis": "advice", "before": "Be kind."}]
    task = q.write(tmp_path / "t", of, conditions)
    q.ask(task, tmp_path / "asked", "--model=scripted:first", "--model=scripted:last")
    found, own = tally(tmp_path / "asked"), tally(task)
    assert found["winners"] == own["winners"]
    assert found["groups"] == ["a", "b"]


def test_any_grouped_questionnaire_that_is_shipped(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main.main(["tally", "pluralism", "--as=aggregators", "--resamples=20"]) == 0
    found = json.loads((tmp_path / "runs" / "pluralism-aggregators" / "tally.json").read_text())
    assert len(found["winners"]) == 12
    assert found["groups"] == ["north", "coast", "hills"]
    assert "a tie of 3" in capsys.readouterr().out


def test_mistakes(tmp_path, capsys):
    one = rows({"a": [1, 2, 3], "b": [1, 2, 3]})
    for name, of, toml, said in (
        ("twice", [*one, one[0] | {"id": "again"}], "", "rows.jsonl:3: group 'a' has votes on 'Which?' in"),
        ("alone", one[:1], "", "no question has votes of two groups"),
        ("none", [{k: v for k, v in r.items() if k != "counts"} for r in one], "", "field 'counts': has no votes"),
        ("people", one, "[settings.people]\na = 1\n", "settings.people: has no group 'b'"),
        ("number", one, '[settings]\npeople = "many"\n', "settings.people: found 'many', expected group = number"),
    ):
        task = q.write(tmp_path / name, of, toml=toml)
        assert main.main(["tally", str(task), "--as=aggregators", f"--out={tmp_path / 'out'}"]) == 2
        assert said in capsys.readouterr().err
    assert main.main(["tally", str(task), "--as=shares"]) == 2
    assert "has no answers yet" in capsys.readouterr().err
    q.ask(q.write(tmp_path / "t", one), tmp_path / "asked", "--model=scripted:first")
    assert main.main(["tally", str(tmp_path / "asked"), "--aggregate=Borda"]) == 2
    assert "--aggregate=Borda: is of --as=aggregators" in capsys.readouterr().err
