"""Files of outcomes: every mistake is one error with file, line, field and remedy; and words that mean nothing."""

import json

import pytest

from moral_jax.cli import main
from moral_jax.tasks.elicitation import invented, outcomes
from moral_jax.types import UserError
from tests.helpers import elicitations as el

GOOD = [{"id": f"o{i}", "text": f"Outcome {'abcdefgh'[i]} comes about."} for i in range(8)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"id": None}, "o.jsonl:1: field 'id'"),
        ({"text": ""}, "o.jsonl:1: field 'text'"),
        ({"txt": "x"}, "field 'txt': no such field; there are id, text, group, good, amount, of, next"),
        ({"id": "a | b"}, "field 'id': found 'a | b', expected a name without ' | '"),
        ({"id": "o1"}, "o.jsonl:2: field 'id': 'o1' stands in "),
        ({"text": "Outcome b comes about."}, "o.jsonl:2: field 'text': 'Outcome b comes about.' stands in "),
        ({"amount": 3}, "field 'amount': found 3, expected a number beside field 'good'"),
        ({"good": "cats", "amount": 0}, "field 'amount': found 0, expected a number above 0"),
        ({"good": "cats", "amount": "many"}, "field 'amount': found 'many', expected a number above 0"),
        ({"of": {"o1": 50}}, "field 'of': found {'o1': 50}, expected an object of at least two outcomes"),
        ({"of": {"o1": 50, "o2": 40}}, "which sum to 100"),
        ({"of": {"o1": 50, "zz": 50}}, "field 'of': no outcome is called 'zz'"),
        ({"next": "o1"}, "field 'next': found 'o1', expected a list of the ids"),
        ({"next": ["zz"]}, "field 'next': no outcome is called 'zz'"),
    ],
)
def test_a_mistake_in_outcomes(line, said, tmp_path, capsys):
    path = el.write(tmp_path / "o.jsonl", [GOOD[0] | line, *GOOD[1:]])
    assert main.main(["elicit", str(path), f"--out={tmp_path / 'out'}", "--model=agent:uniform"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: no such file; expected outcomes"),
        (["nowhere"], "no such folder; expected a folder with a task.toml, or one of "),
        (["policies"], "is a questionnaire of rows; ask it with moral-jax ask --task=policies"),
        (["outcomes", "--also=magic"], "--also=magic: no such part; there are discounting, choices, lotteries"),
        (["outcomes", "--limit=3"], "has 3 outcomes; expected 7 or more"),
        (["outcomes", "--batch=0"], "--batch=0: expected at least 1"),
        (["outcomes", "--samples=0"], "--samples=0: expected at least 1"),
        (["outcomes", "--seed=-1"], "--seed=-1: expected 0 or more"),
        (["outcomes", "--condition=mood=sad"], "--condition=mood=...: no such axis; there are question, persona"),
        (["outcomes", "--write-rows=x"], "--write-rows: needs --assembly=VOTES"),
        (["outcomes", "--assembly=x.jsonl"], "x.jsonl"),
    ],
)
def test_a_mistake_in_a_command(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["elicit", *arguments, "--model=agent:uniform"]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_commands_say_which_one_to_use(tmp_path, capsys):
    assert main.main(["ask", "--task=outcomes", "--model=agent:uniform"]) == 2
    assert "ask them: moral-jax elicit outcomes --model=" in capsys.readouterr().err
    el.elicit("outcomes", tmp_path / "out", "--model=agent:number", "--no-floor")
    assert main.main(["tally", str(tmp_path / "out")]) == 2
    assert "the moral-jax elicit command that made it counts it again" in capsys.readouterr().err


def test_a_missing_package_is_named_before_anything_is_asked(tmp_path, monkeypatch, capsys):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "choix" else real(name, *rest))
    assert main.main(["elicit", "outcomes", f"--out={tmp_path / 'out'}", "--model=agent:uniform"]) == 2
    assert "choix is not installed: pip install 'moral-jax[values]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_object_of_groups(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text(
        json.dumps({"Sea": ["The tide comes in.", "A whale sings."], "Land": [f"Tree {k} falls." for k in "abcde"]})
    )
    found = outcomes.read(path)
    assert [(one.id, one.group) for one in found] == [
        ("Sea 1", "Sea"),
        ("Sea 2", "Sea"),
        *((f"Land {k}", "Land") for k in range(1, 6)),
    ]
    path.write_text(json.dumps({"Sea": "The tide comes in."}))
    with pytest.raises(UserError, match="groups.json: 'Sea': found 'The tide comes in.', expected a list of texts"):
        outcomes.read(path)


def test_a_limit_leaves_out_lotteries_of_what_is_left_out(tmp_path):
    lines = [*GOOD[:7], {"id": "l", "text": "A lottery is held.", "of": {"o0": 50, "o7": 50}}, GOOD[7]]
    path = el.write(tmp_path / "o.jsonl", lines)
    assert [one.id for one in outcomes.read(path, 8)] == [f"o{i}" for i in range(7)]
    assert len(outcomes.read(path)) == 9


def test_words_are_invented_and_numbers_kept():
    text = "You receive $1,000 for 3 cats and the Cats' food."
    made = invented.without_words(text)
    assert made.startswith("You ")
    assert "$1,000 for 3 " in made
    assert not {"receive", "cats", "food"} & set(made.lower().replace(".", "").split())
    assert invented.without_words("cats") == invented.without_words("cats")
    assert invented.without_words("cats") != invented.without_words("dogs")
    assert invented.without_words("Cats") == invented.without_words("cats").capitalize()
    assert invented.without_numbers(text) == "You receive for cats and the Cats' food."
    assert invented.without_numbers("A 30 % chance") == "A chance"
    assert invented.has_number("route 66")
    assert not invented.has_number("one cat")


def test_every_public_outcome_is_read(shared):
    """510 outcomes in 30 groups, 213 with a digit (arXiv 2502.08640)."""
    found = outcomes.read(shared / "emergent_values" / "options_hierarchical.json")
    assert len(found) == 510
    assert len({one.group for one in found}) == 30
    assert sum(invented.has_number(one.text) for one in found) == 213


def test_a_folder_brings_its_own_question(tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    el.write(folder / "options.jsonl", GOOD)
    toml = 'title = "Mine"\ntally = "utilities"\nrows = "options.jsonl"\n[settings]\nquestion = '
    (folder / "task.toml").write_text(toml + '"Which would be louder?"\n')
    assert main.main(["elicit", str(folder), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Mine: 8 outcomes")
    assert said.count("[user] Which would be louder?") == 3
    (folder / "task.toml").write_text(toml + "3\n")
    assert main.main(["elicit", str(folder), "--dry-run"]) == 2
    assert "task.toml: settings.question: found 3, expected a text" in capsys.readouterr().err
    assert main.main(["elicit", str(folder), "--also=choices", "--dry-run"]) == 2
