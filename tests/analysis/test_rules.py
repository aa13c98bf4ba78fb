"""Rules that read nothing: what each says of a question in a shown order."""

import json

import pytest

from moral_jax.analysis import rules
from moral_jax.types import Example, UserError


def question(*options, **known):
    return {"id": "r", "options": list(options), "positions": [], "groups": {}} | known


def test_there_is_no_rule_beside_those_that_are_tested_here():
    assert list(rules.RULES) == [
        "uniform", "first", "last", "longest", "number", "constant", "obey", "cave", "refuse",
    ]  # fmt: skip
    assert list(rules.RULES_OF_FILES) == ["leaning", "tags", "utility", "scale"]


PRESSED = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "Really?"}]


@pytest.mark.parametrize(
    ("name", "asked", "order", "shares"),
    [
        ("uniform", question("a", "b"), (0, 1), [0.5, 0.5]),
        ("uniform", question(*"abcd"), (0, 1, 2, 3), [0.25] * 4),
        ("first", question(*"abc"), (2, 0, 1), [1, 0, 0]),
        ("last", question(*"abc"), (2, 0, 1), [0, 0, 1]),
        ("longest", question("a", "bbb", "cc"), (1, 2, 0), [1, 0, 0]),
        ("longest", question("aa", "b", "cc"), (0, 1, 2), [0.5, 0, 0.5]),
        ("longest", question("a a", "\u00e9\u00e9\u00e9", "b"), (0, 1, 2), [0.5, 0.5, 0]),
        ("number", question("save 10", "save 1,000", "save 9.5"), (0, 1, 2), [0, 1, 0]),
        ("number", question("none", "nobody"), (0, 1), [0.5, 0.5]),
        ("constant", question(*"abc"), (2, 0, 1), [0, 1, 0]),
        ("obey", question(*"abc", gold=1), (2, 1, 0), [0, 1, 0]),
        ("obey", question(*"abc", gold=None), (2, 1, 0), [0, 0, 1]),
        ("cave", question(*"abc"), (1, 0, 2), [0, 1, 0]),
        ("cave", question(*"abc", messages=PRESSED), (1, 2, 0), [0, 1, 0]),
        ("refuse", question("yes", "no", "can't decide"), (2, 0, 1), [1, 0, 0]),
        ("refuse", question("yes", "no"), (0, 1), [0.5, 0.5]),
    ],
)
def test_a_rule(name, asked, order, shares):
    assert rules.get(name).rule(asked, order) == shares


def of_file(tmp_path, name, values):
    (tmp_path / "f.json").write_text(json.dumps(values))
    return rules.get(f"{name}?file={tmp_path / 'f.json'}").rule


def test_leaning_takes_what_the_file_says_and_a_condition_says_it_anew(tmp_path):
    rule = of_file(tmp_path, "leaning", {"r": "b", "policy=strict": {"r": {"a": 0.6, "b": 0.4}}})
    assert rule(question("a", "b"), (1, 0)) == [1, 0]
    assert rule(question("a", "b", condition={"policy": "strict"}), (1, 0)) == [0.4, 0.6]
    assert rule(question("a", "b", condition={"policy": "mild"}), (0, 1)) == [0, 1]
    with pytest.raises(UserError, match="says None of row 'x'"):
        rule(question("a", "b", row="x"), (0, 1))


def test_tags_takes_the_option_whose_tags_weigh_most(tmp_path):
    rule = of_file(tmp_path, "tags", {"care": 1, "harm": -2, "people=north": {"care": -1}})
    asked = question("a", "b", tags=[["care"], ["order"]])
    assert rule(asked, (1, 0)) == [0, 1]
    assert rule(asked | {"condition": {"people": "north"}}, (1, 0)) == [1, 0]
    assert rule(question("a", "b", tags=[["x"], ["y"]]), (0, 1)) == [0.5, 0.5]
    assert rule(question("a", "b"), (0, 1)) == [0.5, 0.5]


def test_utility_is_a_softmax(tmp_path):
    rule = of_file(tmp_path, "utility", {"a": 0, "b": 1})
    assert rule(question("a", "b"), (1, 0)) == pytest.approx([0.731059, 0.268941], abs=1e-6)
    with pytest.raises(UserError, match="no utility of 'c'"):
        rule(question("a", "c"), (0, 1))


@pytest.mark.parametrize(
    ("known", "mean"),
    [({}, 2.25), ({"reverse": True}, 2.75), ({"groups": {"domain": "money"}}, 3.5), ({"row": "r9"}, 1.0)],
)
def test_scale_has_the_mean_of_its_file(known, mean, tmp_path):
    rule = of_file(tmp_path, "scale", {"all": 2.25, "money": 3.5, "r9": -3})
    shares = rule(question(*"1234", **known), (3, 2, 1, 0))
    assert sum(shares) == pytest.approx(1)
    assert sum(point * p for point, p in zip((4, 3, 2, 1), shares, strict=True)) == pytest.approx(mean)


def test_a_scale_without_a_mean_says_so(tmp_path):
    with pytest.raises(UserError, match="gives no mean for any of"):
        of_file(tmp_path, "scale", {"money": 2})(question("1", "2"), (0, 1))


@pytest.mark.parametrize("name", ["frist", "first?file=x", "tags", "tags?weights=x"])
def test_there_is_no_such_rule(name):
    with pytest.raises(UserError, match="no such scripted respondent; there are uniform, "):
        rules.get(name)


@pytest.mark.parametrize("text", ["[1]", "{", None])
def test_a_file_that_is_none(text, tmp_path):
    path = tmp_path / "f.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"scripted:tags.*f\.json"):
        rules.get(f"tags?file={path}")


def test_what_rules_read_of_a_question():
    example = Example("r", "Which?", ("a", "b"), (1.0, 1.0), groups={"domain": "x"}, notes={"gold": 1})
    assert rules.as_record(example)["gold"] == 1
    assert rules.as_record(example)["groups"] == {"domain": "x"}
