"""Judges by name: what each says, how they are combined, and what is refused."""

import subprocess
import sys

import pytest

from moral_jax.judges import lexicon, table
from moral_jax.judges.base import Behind, Model, Written, numbers_of
from moral_jax.judges.table import parse, parse_several
from moral_jax.types import Example, UserError

SORRY, SURE = "I'm sorry, but I can't help with that.", "Sure, she is very good at it."


def written(text, **fields):
    return Written(Example("1", "", ("",), (1.0,), text="A prompt", notes=fields.pop("notes", {})), "", text, **fields)


def said(setting, *texts, folder=None, **fields):
    judge = parse(setting, **({"folder": folder} if folder else {}))
    return numbers_of(judge, [written(text, **fields) for text in texts])


@pytest.mark.parametrize(
    ("setting", "want"),
    [
        ("refusal", [1, 0]),
        ("not(refusal)", [0, 1]),
        ("gender", [0, 1]),
        ("contains:sorry", [1, 0]),
        ("all(refusal,contains:help)", [1, 0]),
        ("all(refusal,contains:she)", [0, 0]),
        ("any(refusal,contains:she)", [1, 1]),
        ("any(all(refusal,contains:x),not(contains:sorry))", [0, 1]),
        ("matches:^[A-Z]{1,1}", [1, 1]),
    ],
)
def test_what_judges_say(setting, want):
    assert said(setting, SORRY, SURE) == want


def test_what_cannot_be_told_is_none_unless_the_others_decide():
    assert said("finished", SURE) == said("overlong:20:5", SURE) == said("target", SURE) == [None]
    assert said("all(finished,refusal)", SORRY, SURE) == [None, 0]
    assert said("any(finished,refusal)", SORRY, SURE) == [1, None]
    assert said("not(finished)", SURE) == [None]


def test_a_target_is_the_rows_own():
    notes = {"target": ["Tangerine", "orange"]}
    assert said("target", "It is TANGERINE.", "An orange.", "No.", notes=notes) == [1, 1, 0]


def test_bolds_golden_polarity(tmp_path):
    assert lexicon.polarity([0.4, -0.2, 0.1]) == pytest.approx(0.185714, abs=1e-6)
    (tmp_path / "words.csv").write_text("word,value\nnurse,0.4\nengineer,-0.2\ncook,0.1\n")
    setting = "polarity:words.csv"
    assert said(setting, "The nurse, the Engineer and the cook.", "Nobody.", folder=tmp_path) == [
        pytest.approx(0.185714, abs=1e-6), 0,
    ]  # fmt: skip
    assert said("norms:words.csv", "nurse engineer", "Nobody.", folder=tmp_path) == [pytest.approx(0.1), None]
    assert parse(setting, folder=tmp_path).range == (-0.4, 0.4)


def test_sentiment_and_profanity_are_those_of_their_packages():
    assert said("sentiment", "VADER is smart, handsome, and funny!", " ") == [pytest.approx(0.8439), None]
    low, high = said("profanity", "you are nice", "damn it")
    assert low < 0.1 < 0.9 < high
    assert parse("sentiment").version == "vaderSentiment 3.3.2"


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "profanity_check", None)
    with pytest.raises(UserError, match=r"alt-profanity-check is not installed: pip install 'moral-jax\[judges\]'"):
        parse("profanity")


def test_settings_with_commas():
    names = [j.name for j in parse_several(["refusal,contains:a, b,all(refusal,any(finished,lacks:x))", "gender"])]
    assert names == ["refusal", "contains:a, b", "all(refusal,any(finished,lacks:x))", "gender"]
    with pytest.raises(UserError, match="names 'refusal' twice"):
        parse_several(["refusal", "gender,refusal"])


def test_a_function_says_what_its_numbers_mean(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def long(replies):\n    return [len(r.text) for r in replies]\n"
        "long.range = (0, 100)\nlong.higher_is = 'length'\n"
    )
    judge = parse("mine.py:long", folder=tmp_path)
    assert (judge.range, judge.higher_is, judge.on_primary) == ((0, 100), "length", True)
    assert numbers_of(judge, [written("abc")]) == [3]
    assert table.is_program("0.5*refusal | all(refusal,mine.py:long)")
    assert not table.is_program("contains:mine.python")


def test_labels_of_people_by_id_and_by_text(tmp_path):
    (tmp_path / "people.jsonl").write_text(
        '{"id": "1", "label": 4}\n{"id": "1", "label": 2}\n{"text": "Hm.", "label": "yes"}\n{"id": "2", "label": 5}\n'
    )
    judge = parse("labels:people.jsonl", folder=tmp_path)
    other = written("Unknown.")
    other = other._replace(example=other.example._replace(id="3"))
    assert numbers_of(judge, [written("Something."), written("Hm."), other]) == [3.0, 1.0, None]
    assert (judge.range, judge.cut) == ((0.0, 5.0), 2.5)


def test_models_come_from_behind():
    behind = Behind(
        lambda folder: Model(lambda r: [2.0] * len(r), "w"), lambda rubric, who: Model(lambda r: [1.0], who)
    )
    assert parse("run:runs/r", behind).about["range"] == [None, None]
    judge = parse("rubric:harm@somebody", behind)
    assert (judge.higher_is, judge.identity.split()[1], judge.judge([None])) == ("violation", "somebody", [1.0])
    with pytest.raises(UserError, match="a judge that is a model cannot be asked here"):
        parse("run:runs/r")


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ("kindness", "no such judge; there are refusal, sentiment"),
        ("refusal:now", "no such judge"),
        ("not(refusal,gender)", "takes one judge"),
        ("all()", "no such judge"),
        ("polarity:nowhere.csv", "nowhere.csv is no file"),
        ("labels:nowhere.jsonl", "is no file"),
        ("rubric:nothing@x", "no such file; expected FILE.toml, or one of harm, quality"),
    ],
)
def test_what_is_no_judge_is_refused(setting, match):
    with pytest.raises(UserError, match=match):
        parse(setting)


def test_judges_that_read_texts_need_no_jax():
    code = (
        "import sys; from moral_jax.judges.table import parse; parse('refusal'); parse('sentiment'); "
        "import moral_jax.cli.judge; sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
