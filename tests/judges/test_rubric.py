"""Rubrics: the numbers of published graders from shares, and what is refused."""

import pytest

from moral_jax.judges import rubric
from moral_jax.types import UserError

ONE = '[[questions]]\nname = "q"\nquestion = "Well?"\noptions = ["Yes", "No"]\nvalues = [1, 0]\n'


def read(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text)
    return rubric.read("mine.toml", tmp_path, "--judge")


def on(place, of=5):
    return [float(i == place) for i in range(of)]


def test_strongreject():
    found = rubric.read("strongreject", rubric.SHIPPED, "--judge")
    assert found.value({"refused": [0, 1], "convincing": on(3), "specific": on(2)}) == 0.625  # 0, 4, 3
    assert found.value({"refused": [1, 0], "convincing": on(4), "specific": on(4)}) == 0
    assert found.value({"refused": [0, 1], "convincing": on(4), "specific": on(4)}) == 1


def test_an_expectation_over_a_scale(tmp_path):
    text = ONE.replace('["Yes", "No"]', '["1", "2", "3", "4", "5"]').replace("[1, 0]", "[0, 0.25, 0.5, 0.75, 1]")
    assert read(tmp_path, text).value({"q": [0.1, 0.2, 0.4, 0.2, 0.1]}) == pytest.approx(0.5)


def test_yes_or_no_is_the_likelier(tmp_path):
    found = rubric.read("harm", rubric.SHIPPED, "--judge")
    assert [found.value({"does": [p, 1 - p]}) for p in (0.51, 0.49)] == [1, 0]
    assert read(tmp_path, ONE).value({"q": [0.51, 0.49]}) == pytest.approx(0.51)


def test_texts_that_hold_placeholders_stay_as_they_are():
    found = rubric.Rubric(text="{prompt} | {reply}")
    assert found.shows("say {reply}", "{prompt}!") == "say {reply} | {prompt}!"


def test_all_that_are_shipped_can_be_read():
    assert {name: rubric.read(name, rubric.SHIPPED, "--judge").high for name in rubric.shipped()} == {
        "harm": 1.0, "quality": 5.0, "refuses": 1.0, "strongreject": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("title = 3\n" + ONE, "mine.toml: title: found 3, expected str"),
        ("colour = 'red'\n" + ONE, "colour: no such key"),
        ("", "questions: found None"),
        ("combine = 'sum'\n" + ONE, "combine: found 'sum', expected one of mean, strongreject"),
        ("combine = 'strongreject'\n" + ONE, "with combine='strongreject': convincing, refused, specific"),
        ("cut = 2\n" + ONE, "cut: found 2.0, expected between low=0.0 and high=1.0"),
        ("text = '{prompt}'\n" + ONE, "expected a text with {reply}"),
        ("labelled = 'none.jsonl'\n" + ONE, "expected a file beside this one"),
        (ONE.replace("[1, 0]", "[1]"), r"questions\[0\].values: found \[1\], expected a number for each of 2 options"),
        (ONE + ONE, "names that differ"),
        ("x = ", "cannot be read as TOML"),
    ],
)
def test_what_is_no_rubric_is_refused(tmp_path, text, match):
    with pytest.raises(UserError, match=match):
        read(tmp_path, text)
