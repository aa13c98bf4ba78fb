"""The policies from outside: agents with planted answers, and the constants in their place."""

import json

import pytest

from tests.helpers import questionnaires as q

AGREES = "Answers that follow the policy"
NAMES = ("share of the right answer", "accuracy", "flip", "bias to its own leaning", "abstains")
OPTIONS = ["should", "should not", "can't decide"]


def rows(count=24):
    """Dilemmas of which the policies leave every second one where the agent leans to anyway."""
    return [
        {"id": f"d{i}", "text": f"Dilemma {i}.", "question": "Should you?", "options": OPTIONS} for i in range(count)
    ]


def policy(school="virtue", order="forward", gold=None, level="0"):
    name = f"{school}-{level}-{order}"
    traits = {"school": school, "level": level, "order": order}
    return {"id": name, "axis": "policy", "before": f"Follow {name}.", "gold": gold, "traits": traits}


def golds(first):
    """Half of the rows with one gold, half with the other."""
    other = {"should": "should not", "should not": "should"}[first]
    return {f"d{i}": first if i % 2 else other for i in range(24)}


@pytest.fixture
def task(tmp_path):
    both = [policy(order="forward", gold=golds("should")), policy(order="reversed", gold=golds("should not"))]
    return q.write(tmp_path / "task", rows(), both, 'tally = "policy"')


def numbers(found):
    return {name: q.values(found, AGREES)["all policies"].get(name) for name in NAMES}


def leaning(tmp_path, option="should"):
    path = tmp_path / "leaning.json"
    path.write_text(json.dumps({f"d{i}": option for i in range(24)}))
    return f"--model=scripted:leaning?file={path}"


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("obey", (1, 1, 1, 0, 0)),
        ("leaning", (0.5, 0.5, 0, 1, 0)),
        ("refuse", (0, 0, 0, None, 1)),  # it has no leaning, so no bias
        ("uniform", (1 / 3, 1 / 3, 0, None, 1 / 3)),
    ],
)
def test_an_agent_is_what_it_was_planted_to_be(agent, expected, task, tmp_path):
    model = leaning(tmp_path) if agent == "leaning" else f"--model=scripted:{agent}"
    found = numbers(q.ask(task, tmp_path / "out", model))
    assert tuple(found[name] for name in NAMES) == pytest.approx(expected)


@pytest.mark.parametrize("agent", ["uniform", "first", "last", "longest", "constant", "refuse"])
def test_no_constant_passes(agent, task, tmp_path):
    found = q.ask(task, tmp_path / "out", f"--model=scripted:{agent}")
    assert numbers(found)["flip"] == 0
    assert max(numbers(found)[name] for name in NAMES[:2]) <= 0.5
    assert not any(sentence.count("better than") for sentence in found["findings"])


def test_forward_and_reversed_in_each_others_place_turn_the_golds_and_leave_accuracy(tmp_path):
    out = []
    for first, second in (("should", "should not"), ("should not", "should")):
        both = [policy(order="forward", gold=golds(first)), policy(order="reversed", gold=golds(second))]
        task = q.write(tmp_path / first, rows(), both, 'tally = "policy"')
        out.append(numbers(q.ask(task, tmp_path / f"{first} out", "--model=scripted:obey")))
        said = {(r["row"], r["condition"]["policy"]): r["gold"] for r in q.records(tmp_path / f"{first} out")}
        assert said["d1", "virtue-0-forward"] == OPTIONS.index(first)
    assert out[0] == out[1]


def test_rows_that_a_policy_does_not_decide_are_left_out(tmp_path):
    undecided = {f"d{i}": None if i < 12 else "should" for i in range(24)}
    turned = {f"d{i}": None if i < 12 else "should not" for i in range(24)}
    both = [policy(order="forward", gold=undecided), policy(order="reversed", gold=turned)]
    task = q.write(tmp_path / "task", rows(), both, 'tally = "policy"')
    assert numbers(q.ask(task, tmp_path / "out", "--model=scripted:obey"))["flip"] == 1
    found = numbers(q.ask(task, tmp_path / "constant", "--model=scripted:constant"))
    assert (found["accuracy"], found["flip"]) == (0.5, 0)


def test_what_is_resampled_are_dilemmas(tmp_path):
    """Eighteen policies about the same rows say no more than the rows do: the interval does not shrink."""
    few = [policy(order=o, gold=golds(g)) for o, g in (("forward", "should"), ("reversed", "should not"))]
    many = [policy(s, o, golds(g), level) for s in "abc" for level in "012"
            for o, g in (("forward", "should"), ("reversed", "should not"))]  # fmt: skip
    width = {}
    values = {f"d{i}": "should" if i % 3 else "can't decide" for i in range(24)}
    (tmp_path / "agent.json").write_text(json.dumps(values))
    for name, conditions in (("few", few), ("many", many)):
        task = q.write(tmp_path / name, rows(), conditions, 'tally = "policy"')
        out = q.ask(task, tmp_path / f"{name} out", f"--model=scripted:leaning?file={tmp_path / 'agent.json'}")
        found = q.cell(out, AGREES, "all policies", "abstains")
        assert found["value"] == pytest.approx(1 / 3)
        width[name] = found["high"] - found["low"]
    assert width["many"] == pytest.approx(width["few"], rel=1e-6)


def test_the_shipped_policies_are_complete(tmp_path):
    found = q.ask("policies", tmp_path / "out", "--model=scripted:obey")
    assert (found["rows"], found["records"]) == (24, 24 * 19)
    assert {name: v["accuracy"] for name, v in q.values(found, AGREES).items()} == dict.fromkeys(
        q.values(found, AGREES), 1.0
    )
    assert len(q.values(found, AGREES)) == 10


def test_another_axis_is_another_pair(tmp_path):
    """Who flips without a persona, and never as a nurse, flips in half of the pairs."""
    both = [policy(order="forward", gold=golds("should")), policy(order="reversed", gold=golds("should not"))]
    nurse = {"id": "nurse", "axis": "persona", "after": "You are a nurse."}
    task = q.write(tmp_path / "task", rows(), [*both, nurse], 'tally = "policy"')
    q.ask(task, tmp_path / "out", "--model=scripted:obey")
    said = [r | {"probabilities": [1, 0, 0]} if r["condition"]["persona"] == "nurse" else r
            for r in q.records(tmp_path / "out")]  # fmt: skip
    assert numbers(q.tally(tmp_path / "again", "policy", *said))["flip"] == 0.5
