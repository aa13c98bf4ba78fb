"""Rewards: rules on texts, a user's file, weights, and what is refused."""

import pytest

from moral_jax.judges.base import Behind, Model, Written, numbers_of
from moral_jax.judges.rewards import PLACE, parse, total
from moral_jax.types import Example, UserError


def written(text="I am sorry.", reason="end", tokens=4):
    return Written(Example("1", "", ("",), (1.0,), text="A prompt"), "<user>A prompt", text, reason, tokens)


def fails(*asked):
    raise AssertionError(asked)


NO_MODELS = Behind(fails, fails)


def said(setting, *replies):
    return [numbers_of(judge, replies or [written()]) for judge, _ in parse(setting, NO_MODELS)]


@pytest.mark.parametrize(
    ("rule", "reply", "want"),
    [
        ("finished", written(), 1),
        ("finished", written(reason="stop"), 1),
        ("finished", written(reason="length"), 0),
        ("contains:SORRY", written(), 1),
        ("contains:happy", written(), 0),
        ("lacks:sorry", written(), 0),
        ("lacks:happy", written(), 1),
        (r"matches:^I\b.*\.$", written(), 1),
        ("matches:^am", written(), 0),
        ("matches:a|b", written("b"), 1),
        ("characters:11", written(), 1),
        ("characters:22", written(), 0.5),
        ("characters:5", written("x" * 40), 0),
        ("overlong:20:5", written(tokens=18), -0.6),
        ("overlong:20:5", written(tokens=15), 0),
        ("overlong:20:5", written(tokens=30), -1),
    ],
)
def test_rules(rule, reply, want):
    assert said(rule, reply) == [[pytest.approx(want)]]


def test_several_are_added_with_weights():
    both = parse("contains:sorry | -0.5*finished | 2e-1*lacks:a b", NO_MODELS)
    assert [(judge.name, weight) for judge, weight in both] == [
        ("contains:sorry", 1.0),
        ("finished", -0.5),
        ("lacks:a b", 0.2),
    ]
    assert total([1.0, -0.5], [1.0, 1.0]) == 0.5
    assert total([1.0, -0.5], [None, 1.0]) is None, "or what cannot be judged would be worth more than what is bad"


def test_every_judge_is_a_reward():
    both = parse("0.5*refusal | -1*all(finished,contains:sorry)", NO_MODELS)
    assert [(judge.name, weight) for judge, weight in both] == [
        ("refusal", 0.5),
        ("all(finished,contains:sorry)", -1.0),
    ]
    assert [numbers_of(judge, [written("I can't help with that, sorry.")]) for judge, _ in both] == [[1.0], [1.0]]


FUNCTION = """
from __future__ import annotations
import dataclasses

@dataclasses.dataclass
class Judge:
    unit: float

def length(replies):
    return (Judge(len(r.text)).unit if r.text else None for r in replies)
"""


def test_a_function_of_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(FUNCTION)
    [(judge, weight)] = parse(f"0.1*{file}:length", NO_MODELS)
    assert (judge.on_primary, weight) == (True, 0.1)
    assert numbers_of(judge, [written(), written("")]) == [11.0, None]


def test_a_reward_model_comes_by_its_run():
    behind = Behind(lambda folder: Model(lambda replies: [float(len(folder))] * len(replies), "w"), fails)
    [(judge, _)] = parse("run:runs/reward", behind)
    assert numbers_of(judge, [written()]) == [11.0]
    assert (judge.identity, judge.on_primary) == ("w", False)


@pytest.mark.parametrize(
    ("setting", "match"),
    [
        ("", "is empty; name what replies are rewarded for: refusal, sentiment"),
        ("kindness", "'kindness': no such judge; there are refusal, sentiment, "),
        ("contains", "no such judge"),
        ("finished:yes", "no such judge"),
        ("matches:(", "is no regular expression"),
        ("characters:many", "characters:N: expected a whole number above 0, found 'many'"),
        ("overlong:20", "expected a whole number above 0, found ''"),
        ("nowhere.py:f", "nowhere.py is no file"),
        ("1.2.3*finished", "'1.2.3' is no weight"),
        ("9e999*finished", "'9e999' is no weight"),
        ("finished | 0.5*finished", "names a reward twice"),
    ],
)
def test_what_is_no_reward_is_refused(setting, match):
    with pytest.raises(UserError, match=match.replace("(", r"\(").replace("*", r"\*")):
        parse(setting, NO_MODELS)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ("return 1.0", "returned float of 0 for 1 replies"),
        ("return [1.0, 2.0]", "returned list of 2 for 1 replies"),
        ("return [float('nan')]", "returned nan for 1 replies"),
        ("return [-float('inf')]", "returned -inf for 1 replies"),
        ("return ['good']", "expected a finite number or None for each"),
        ("raise KeyError('score')", "KeyError: 'score'"),
        ("yield {}['score']", "KeyError: 'score'"),
        ("return [10**400]", "expected a finite number or None for each"),
    ],
)
def test_a_function_that_fails_is_named(tmp_path, body, match):
    file = tmp_path / "mine.py"
    file.write_text(f"def f(replies):\n    {body}\n")
    [(judge, _)] = parse(f"{file}:f", NO_MODELS)
    with pytest.raises(UserError, match=match) as error:
        numbers_of(judge, [written()], PLACE)
    assert f"config.rollout.reward='{file}:f'" in str(error.value)


def test_a_file_that_cannot_be_imported_is_named(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import nothing_of_that_name\n")
    with pytest.raises(UserError, match=r"mine.py cannot be imported \(ModuleNotFoundError"):
        parse(f"{file}:f", NO_MODELS)
    file.write_text("x = 1\n")
    with pytest.raises(UserError, match="has no function 'f'"):
        parse(f"{file}:f", NO_MODELS)
