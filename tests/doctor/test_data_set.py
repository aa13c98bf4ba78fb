"""Tests what `moral-jax data` shows of a data set, and what it warns of."""

import json

import pytest

from moral_jax.cli import main
from moral_jax.config import parsing
from moral_jax.doctor import data_set
from moral_jax.tasks.load import Dataset
from moral_jax.types import Example

ABOUT = {"description": "d", "licence": "l", "files": {}}


def row(name, text="He left.", counts=(3.0, 1.0), **more):
    return Example(id=name, question="Was it wrong?", options=("yes", "no"), counts=counts, text=text, **more)


def described(train, test, **about):
    return data_set.describe(Dataset(train, [], test, ABOUT | about))


def test_exact_and_near_duplicates_are_counted_apart():
    train = [row("a"), row("b", "he LEFT"), row("c", "She stayed.")]
    test = [row("d"), row("e", "Hé left!"), row("f", "They ran.")]
    assert described(train, test)["duplicates"] == {
        "exact": 2,
        "near": 4,
        "test rows asked in train": 1,
        "test rows nearly asked in train": 2,
    }


def test_texts_without_letters_are_no_duplicates():
    assert data_set.folded("12") != data_set.folded("13")
    assert data_set.folded("Caf\u00e9, 3!") == data_set.folded("cafe")
    assert data_set.folded("\u092f\u0939") != data_set.folded("\u0935\u0939")


def test_votes_groups_and_keys():
    rows = [
        row(str(i), str(i), (i, 10.0 - i), keys=("k" if i < 3 else str(i),), groups={"g": "ab"[i % 2]})
        for i in range(10)
    ]
    about = described(rows[2:], rows[:2])
    assert about["rows"] == {"train": 8, "validation": 0, "test": 2}
    assert about["votes per row"] == {"least": 10, "median": 10, "most": 10}
    assert about["rows by share of the plurality"] == {
        "50-60 %": 1,
        "60-70 %": 2,
        "70-80 %": 2,
        "80-90 %": 2,
        "90-100 %": 3,
    }
    assert about["groups"] == {"g": {"a": 5, "b": 5}}
    assert (about["rows that share a key with others"], about["most rows of a key"]) == (3, 3)


def test_test_rows_asked_in_train_are_a_warning():
    config = parsing.from_flags(["--config.task.name=votes", "--config.task.path=x"], file_needed=False)
    found = data_set.warnings(described([row("a")], [row("b", "HE LEFT")]), config)
    assert found[0] == "1 test rows are nearly asked in train too: name what they share in config.task.fields.key"
    assert not data_set.warnings(described([row("a")], [row("b", "x")]) | {"rows": {"train": 1}}, config)


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    lines = [f"{i},p{k},Text {chr(97 + i)}.,{'wrong' if k <= i % 3 else 'fine'}" for i in range(20) for k in range(3)]
    path.write_text("item,who,text,label\n" + "\n".join(lines))
    fields = {"item": "item", "person": "who", "vote": "label", "question": "Was it wrong?", "options": "wrong|fine"}
    return [str(path), *(f"--config.task.fields.{name}={value}" for name, value in fields.items())]


def test_the_command_shows_rows_votes_and_whole_prompts(people, tiny_folder, capsys):
    assert main.main(["data", *people, f"--config.model.path={tiny_folder}", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["rows"] == {"train": 14, "validation": 2, "test": 4}
    assert about["votes per row"] == {"least": 3, "median": 3, "most": 3}
    assert len(about["prompts"]) == 3
    first = about["prompts"][0]
    assert "Was it wrong?" in first["prompts"][0]
    assert first["prompts"][0].endswith("Answer:")
    assert first["options"] == {"wrong": "'A' or ' A'", "fine": "'B' or ' B'"}
    assert main.main(["data", *people, f"--config.model.path={tiny_folder}"]) == 0
    assert "read from 'A' or ' A': wrong" in capsys.readouterr().out


def test_without_a_model_the_rows_are_shown_all_the_same(people, capsys, tmp_path):
    assert main.main(["data", *people, f"--config.model.path={tmp_path / 'nowhere'}"]) == 0
    done = capsys.readouterr()
    assert "rows: train 14, validation 2, test 4" in done.out
    assert "warning: no prompts are shown: model.path=" in done.err


def test_no_data_named_is_a_mistake(capsys):
    assert main.main(["data"]) == 2
    assert "no data is named: pass a FILE, or --config=FILE" in capsys.readouterr().err
