"""Moral progress, simulated, from outside: planted drifts, challenges, algorithms, resumption, and real runs."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from moral_jax.cli import main
from moral_jax.config import Config
from moral_jax.report import plots
from moral_jax.types import Example
from moral_jax.workflows import lessons
from tests.helpers import questionnaires as q

ALL = "all rows"
SEEDS = (1, 2, 3)
TWO = "--config.train.epochs=2"


def simulate(out: Path, *flags: str, draws: bool = False) -> dict[str, Any]:
    """Runs `moral-jax simulate`, and returns progress.json; asserts that it went well.

    Args:
      draws: make the pictures of the page too, which take most of the time.
    """
    with contextlib.nullcontext() if draws else mock.patch.object(plots, "svg", return_value=""):
        assert main.main(["simulate", f"--workdir={out}", "--resamples=100", *flags]) == 0
    return json.loads((out / "progress.json").read_text())


def scores(found: dict[str, Any], challenge: str, rows: str = ALL) -> dict[str, float]:
    """Returns the centred score of everybody."""
    cells = found["challenges"][rows][challenge]["cells"]
    return {name: cell["centred"]["value"] for name, cell in cells.items()}


def above(found: dict[str, Any], challenge: str, name: str) -> dict[str, float]:
    return found["challenges"][ALL][challenge]["cells"][name]["above"]


def shares(path: Path) -> dict[str, dict[str, float]]:
    return json.loads(path.read_text())


# what must come out of planted drifts


@pytest.mark.parametrize("seed", SEEDS)
def test_on_a_straight_drift_who_goes_on_learning_follows_and_who_extrapolates_predicts(seed, tmp_path):
    found = simulate(tmp_path, f"--seed={seed}")
    follow, predict = scores(found, "follow"), scores(found, "predict")
    assert follow["static"] < follow["lifelong"]
    assert predict["static"] < predict["lifelong"] < predict["extrapolative"]
    assert above(found, "follow", "lifelong")["low"] > 0
    pair = found["challenges"][ALL]["predict"]["pairs"]["extrapolative - lifelong"]
    assert pair["low"] > 0
    assert pair["value"] == pytest.approx(predict["extrapolative"] - predict["lifelong"])
    assert above(found, "predict", "lifelong")["value"] == pytest.approx(predict["lifelong"] - predict["static"])
    assert predict["people as they are"] < 1 == pytest.approx(follow["people as they are"])


@pytest.mark.parametrize("seed", SEEDS)
def test_without_drift_lifelong_and_extrapolative_tie(seed, tmp_path):
    found = simulate(tmp_path, f"--seed={seed}", "--drift=none")
    for challenge in ("follow", "predict"):
        of = scores(found, challenge)
        assert of["lifelong"] == of["extrapolative"]
        assert of["the first century, kept"] == pytest.approx(1)
        pair = found["challenges"][ALL][challenge]["pairs"]["extrapolative - lifelong"]
        assert pair == {"value": 0, "low": 0, "high": 0}


@pytest.mark.parametrize("seed", SEEDS)
def test_on_a_reversing_drift_extrapolation_loses(seed, tmp_path):
    found = simulate(tmp_path, f"--seed={seed}", "--drift=reversing", "--pace=1")
    of = scores(found, "predict")
    assert of["extrapolative"] < of["lifelong"]
    assert found["challenges"][ALL]["predict"]["pairs"]["extrapolative - lifelong"]["high"] < 0


def test_a_drift_of_a_file(tmp_path):
    lines = [{"kill": 2.0 - t, "Care": float(t)} for t in range(4)]
    (tmp_path / "drift.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = simulate(tmp_path / "out", f"--drift={tmp_path / 'drift.jsonl'}", "--steps=2")
    people = np.array(found["trajectories"]["people"]["centred"])
    assert len(people) == 4
    entries = found["entries"]
    care = people[:, entries.index("foundations: Care")]
    np.testing.assert_allclose(care, [2 / (1 + np.exp(-t)) - 1 for t in range(4)])
    assert np.all(people[:, entries.index("foundations: Purity")] == 0)
    assert people[0, entries.index("rules: kill")] < 0 < people[3, entries.index("rules: kill")]


# what is taught


def test_shares_without_weights_move_in_closed_form(tmp_path):
    """Two epochs at a rate of 0.4 move an examinee by 1 - 0.6^2 of the way to what it is taught."""
    simulate(tmp_path, "--steps=2", "--rate=0.4", TWO)
    people = [shares(tmp_path / "centuries" / f"century-{t:02}.json") for t in range(3)]
    first = shares(tmp_path / "first" / "lesson" / "shares.json")
    step = {name: shares(tmp_path / "alone" / name / "step-01" / "lesson" / "shares.json")
            for name in ("lifelong", "extrapolative")}  # fmt: skip
    for row, options in first.items():
        for option, p in options.items():
            was, now = people[0][row][option], people[1][row][option]
            assert p == pytest.approx(1 / len(options) + 0.64 * (was - 1 / len(options)))
            assert step["lifelong"][row][option] == pytest.approx(p + 0.64 * (now - p))
    row, options = next(iter(first.items()))
    beyond = {option: max(2 * people[1][row][option] - people[0][row][option], 0) for option in options}
    taught = {option: x / sum(beyond.values()) for option, x in beyond.items()}
    for option, p in options.items():
        assert step["extrapolative"][row][option] == pytest.approx(p + 0.64 * (taught[option] - p))
    assert not (tmp_path / "alone" / "static" / "step-01" / "lesson").exists()


def test_what_longer_training_does_is_told_from_what_is_heard(tmp_path):
    """An examinee that learns slowly is nearer to later people for having heard the first ones twice."""
    flags = ("--rate=0.05", "--steps=2", "--algorithm=repeat,lifelong", TWO)
    slow, fast = simulate(tmp_path / "slow", *flags), simulate(tmp_path / "fast", "--steps=2", "--algorithm=repeat")
    page = {name: (tmp_path / name / "report.md").read_text() for name in ("slow", "fast")}
    assert slow["first lesson"] == pytest.approx(fast["first lesson"], abs=0.01)  # uniform begins nowhere else
    lesson = shares(tmp_path / "slow" / "alone" / "repeat" / "step-01" / "lesson" / "shares.json")
    first, people = (
        shares(tmp_path / "slow" / name) for name in ("first/lesson/shares.json", "centuries/century-00.json")
    )
    for row, options in lesson.items():
        for option, p in options.items():
            assert p == pytest.approx(first[row][option] + 0.0975 * (people[row][option] - first[row][option]))
    other = simulate(tmp_path / "other", *flags, "--model=scripted:longest")
    assert other["first lesson"] < 0.5
    assert scores(other, "follow")["static"] < scores(other, "follow")["repeat"] < scores(other, "follow")["lifelong"]
    assert "may be longer training" in (tmp_path / "other" / "report.md").read_text()
    assert all("may be longer training" not in text for text in page.values())


def test_people_learn_from_their_time_and_then_from_the_examinee(tmp_path):
    """An epoch at a rate of 0.5 on what their own time says, then two on what the examinee says."""
    found = simulate(tmp_path, "--steps=2", "--challenge=coevolve", "--algorithm=lifelong")
    people = [shares(tmp_path / "centuries" / f"century-{t:02}.json") for t in range(3)]
    proxy = people[0]
    for t in (1, 2):
        folder = tmp_path / "together" / "lifelong" / f"step-{t:02}"
        examinee = shares(folder / "examinee" / "lesson" / "shares.json")
        after = shares(folder / "people" / "influence" / "shares.json")
        for row, options in after.items():
            for option, p in options.items():
                own = proxy[row][option] + 0.5 * (people[t][row][option] - proxy[row][option])
                assert p == pytest.approx(own + 0.75 * (examinee[row][option] - own))
        proxy = after
    assert list(scores(found, "coevolve")) == ["static", "lifelong", "people as they are", "the first century, kept"]
    assert len(found["trajectories"]["together"]["lifelong"]["centred"]) == 3


def test_an_examinee_that_hears_its_own_influence_moves_less(tmp_path):
    """In coevolve people hear the examinee too, so what static keeps alive holds people back."""
    found = simulate(tmp_path, "--challenge=coevolve")
    of = scores(found, "coevolve")
    assert of["the first century, kept"] < of["static"] < of["lifelong"] < of["people as they are"]


def test_rows_that_are_held_out_are_not_taught_and_counted_apart(tmp_path):
    found = simulate(tmp_path, "--steps=2", "--hold-out=0.25")
    assert found["rows"] == {"rows that were taught": 39, "rows that nobody was taught": 13}
    lesson = shares(tmp_path / "first" / "lesson" / "shares.json")
    even = [row for row, options in lesson.items() if len(set(options.values())) == 1]
    assert len(even) == 13
    apart = scores(found, "follow", "rows that nobody was taught")
    assert scores(found, "follow", "rows that were taught")["lifelong"] > 0.9
    assert apart["lifelong"] == 0  # shares of rows carry nothing over to other rows
    assert apart["people as they are"] == pytest.approx(1)


def test_a_step_may_begin_with_the_weights_of_the_first_century(tmp_path):
    simulate(tmp_path, "--steps=2", "--weights=first", "--algorithm=lifelong", TWO)
    first, second = (shares(tmp_path / name / "lesson" / "shares.json") for name in ("first", "alone/lifelong/step-02"))
    people = shares(tmp_path / "centuries" / "century-02.json")
    for row, options in second.items():
        for option, p in options.items():
            assert p == pytest.approx(first[row][option] + 0.75 * (people[row][option] - first[row][option]))


# real runs


TINY = ("--config.train.epochs=10", "--config.optim.lr=3e-3", "--config.adapter.kind=none",
        "--config.model.product_dtype=float32", "--config.model.unroll=1", "--pace=1.5")  # fmt: skip
SMALL = [  # few rows, of which a tiny model reads all in no time
    *({"id": f"r{i}", "question": "Which?", "text": f"Case {i}.", "options": [f"keep {i}", f"give {i}"],
       "group": {"block": "rules"}, "tags": [["lie"], ["hurt"]] if i % 2 else [["hurt"], ["lie"]]} for i in range(6)),
    *({"id": f"f{i}", "question": "Which?", "text": f"Day {i}.", "options": [f"stay {i}", f"leave {i}"],
       "group": {"block": "foundations", "theme": theme}, "tags": [[theme], []] if i % 2 else [[], [theme]]}
      for i, theme in enumerate(["Care", "Loyalty"] * 3)),
]  # fmt: skip
KEPT = ("records.jsonl", "rows.jsonl", "step.json", "progress.json", "report.md")


@pytest.mark.usefixtures("two_devices")
def test_a_model_is_taught_in_runs_and_goes_on_to_the_same_bytes(tmp_path, tiny_folder):
    task = q.write(tmp_path / "task", SMALL, toml='tally = "vector"\n')
    out = tmp_path / "out"
    flags = (f"--task={task}", f"--model={tiny_folder}", "--steps=2", "--algorithm=lifelong", *TINY)
    found = simulate(out, *flags)
    of = scores(found, "follow")
    assert of["static"] + 0.2 < of["lifelong"]
    whole = {name: data for name, data in tree(out).items() if name.endswith(KEPT)}
    step = out / "alone" / "lifelong" / "step-02"
    lesson = [json.loads(line) for line in (step / "lesson" / "rows.jsonl").read_text().splitlines()]
    people = shares(out / "centuries" / "century-02.json")
    assert lesson[0]["counts"] == pytest.approx(list(people[lesson[0]["id"]].values()))
    begins = json.loads((step / "lesson" / "run" / "config.json").read_text())["model"]["path"]
    before = out / "alone" / "lifelong" / "step-01" / "lesson" / "run"
    assert begins == f"run:{before}"  # its weights are not written a second time
    shutil.rmtree(step / "answers")  # as a kill leaves it: within a lesson that has not been sealed
    shutil.rmtree(step / "lesson" / "run" / "checkpoints")
    for path in (step / "step.json", out / "progress.json"):
        path.unlink()
    simulate(out, *flags)
    assert {name: data for name, data in tree(out).items() if name.endswith(KEPT)} == whole


@pytest.mark.usefixtures("two_devices")
def test_preferences_of_extrapolated_votes_are_learned_with_adapters(tmp_path, tiny_folder):
    """A pair whose order has turned counts three times; the adapters of a step are those that the next begins with."""
    task = q.write(tmp_path / "task", SMALL, toml='tally = "vector"\n')
    flags = (f"--task={task}", f"--model={tiny_folder}", "--objective=dpo", "--steps=1", "--algorithm=extrapolative",
             "--challenge=follow,coevolve", *TINY, "--config.adapter.kind=lora", "--config.train.epochs=1",
             "--pace=3")  # fmt: skip
    simulate(tmp_path, *flags)
    lesson = tmp_path / "alone" / "extrapolative" / "step-01" / "lesson"
    rows = [json.loads(line) for line in (lesson / "rows.jsonl").read_text().splitlines()]
    copies: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        copies.setdefault(row["id"].rpartition(" ")[0], []).append(row)
    before, now = (shares(tmp_path / "centuries" / f"century-{t:02}.json") for t in (0, 1))
    seen = set()
    for pair, of_pair in copies.items():
        name, chosen, rejected = pair.split()[0], of_pair[0]["chosen"], of_pair[0]["rejected"]
        assert now[name][chosen] > now[name][rejected]
        turned = before[name][chosen] < before[name][rejected]
        assert len(of_pair) == (3 if turned else 1)
        seen.add(turned)
    assert seen == {True, False}
    config = json.loads((lesson / "run" / "config.json").read_text())
    first = tmp_path / "first" / "lesson" / "run"
    assert (config["adapter"]["path"], config["model"]["path"]) == (None, f"run:{first}")
    assert config["objective"]["name"] == "dpo"
    step = tmp_path / "together" / "extrapolative" / "step-01"
    said = {r["row"]: r["probabilities"][0] for r in q.records(step / "examinee" / "answers")}
    people = shares(step / "people" / "influence" / "shares.json")
    for row, options in people.items():  # people without weights learn shares, not votes
        (option, p), *_ = options.items()
        own = (before[row][option] + now[row][option]) / 2
        assert p == pytest.approx(own + 0.75 * (said[row] - own))
    asked = json.loads((tmp_path / "start" / "answers" / "questionnaire.json").read_text())
    assert asked["respondents"]["examinee"]["prompt"]["answer_prefix"] == ""


def test_a_vote_of_nothing_is_left_out_and_none_comes_more_than_five_times():
    question = Example("r", "Which?", ("a", "b"), (1.0, 1.0), notes={"row": "r"})
    rows_of = lessons.OBJECTIVES["dpo"].rows
    found = {vote: list(rows_of([question], {"r": np.array([vote])}, Config())) for vote in (0.0, -3.0, 11.0)}
    assert {vote: len(rows) for vote, rows in found.items()} == {0.0: 0, -3.0: 3, 11.0: 5}
    assert {row["chosen"] for row in found[-3.0]} == {"b"}
    assert {row["chosen"] for row in found[11.0]} == {"a"}


# algorithms of the user's own


PROGRAM = """
def halfway(heard, order, ahead):
    return {row: (heard[-1][row] + heard[-2][row]) / 2 for row in heard[-1]}

def short(heard, order, ahead):
    return {row: heard[-1][row][:1] for row in heard[-1]}

def empty(heard, order, ahead):
    return {}

def fails(heard, order, ahead):
    return heard[99]

def below(heard, order, ahead):
    return {row: -heard[-1][row] for row in heard[-1]}

def rests(heard, order, ahead):
    return None
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "mine.py").write_text(PROGRAM)
    return tmp_path / "mine.py"


def test_a_function_of_a_file(program, tmp_path):
    found = simulate(tmp_path / "out", f"--algorithm=lifelong,{program}:halfway,{program}:rests")
    of = scores(found, "follow")
    assert of["static"] < of["halfway"] < of["lifelong"]
    assert of["rests"] == of["static"]
    (tmp_path / "mine.py").write_text(PROGRAM.replace("/ 2", "/ 3"))
    assert main.main(["simulate", f"--workdir={tmp_path / 'out'}", f"--algorithm={program}:halfway"]) == 2


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("short", "expected 2 finite numbers"),
        ("empty", "returned no numbers for every row"),
        ("none", "has no function"),
        ("fails", "IndexError"),
        ("below", "expected a share above 0"),
    ],
)
def test_a_function_that_returns_something_else(function, said, program, tmp_path, capsys):
    assert main.main(["simulate", f"--workdir={tmp_path / 'out'}", f"--algorithm={program}:{function}"]) == 2
    assert said in capsys.readouterr().err


# going on


def tree(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of every file that has no times in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock"
    }  # fmt: skip


def test_killed_at_step_3_it_goes_on_to_the_same_bytes(tmp_path):
    out = tmp_path / "out"
    flags = ("--challenge=follow,predict,coevolve", "--steps=4", "--resamples=100")
    with mock.patch.object(plots, "svg", return_value=""):
        assert main.main(["simulate", f"--workdir={out}", *flags]) == 0
        whole = tree(out)
        shutil.move(out, tmp_path / "whole")
        centuries = 6  # four steps, the first, and one ahead; the examinee is asked at its start, and at steps 0, 1 ...
        coevolving = 4  # of static, before
        q.killed("simulate", f"--workdir={out}", *flags, at=centuries + 2 + coevolving + 3, part=2)
        assert (out / "alone" / "lifelong" / "step-02" / "step.json").exists()
        assert (out / "alone" / "lifelong" / "step-03" / "answers" / "records.jsonl").exists()
        assert not (out / "alone" / "lifelong" / "step-03" / "step.json").exists()
        assert main.main(["simulate", f"--workdir={out}", *flags]) == 0
    assert tree(out) == whole


def test_an_algorithm_or_challenge_that_is_added_asks_for_itself_alone(tmp_path, asked):
    simulate(tmp_path, "--algorithm=lifelong", "--steps=2", "--challenge=follow")
    once = len(asked)
    simulate(tmp_path, "--algorithm=lifelong", "--steps=2", "--challenge=follow,predict")
    assert len(asked) == once
    simulate(tmp_path, "--algorithm=lifelong,extrapolative", "--steps=2", "--challenge=follow")
    assert len(asked) == once + 2 * 52


def test_another_simulation_is_refused_in_the_same_place(tmp_path, capsys):
    simulate(tmp_path, "--steps=2")
    for flags, said in ((["--steps=3"], "people is"), (["--steps=2", "--ahead=2"], "people is"),
                        (["--steps=2", "--rate=0.3"], "rate is 0.5, and now 0.3"),
                        (["--steps=2", "--config.train.epochs=5"], "config is")):  # fmt: skip
        assert main.main(["simulate", f"--workdir={tmp_path}", *flags]) == 2
        assert said in capsys.readouterr().err


def test_answers_that_were_changed_after_their_seal_are_refused(tmp_path, capsys):
    simulate(tmp_path, "--steps=2", "--algorithm=lifelong")
    records = tmp_path / "alone" / "lifelong" / "step-01" / "answers" / "records.jsonl"
    records.write_text(records.read_text().replace("0.", "0.1", 1))
    assert main.main(["simulate", f"--workdir={tmp_path}", "--steps=2", "--algorithm=lifelong"]) == 2
    assert "is not what step.json was sealed with" in capsys.readouterr().err


# people that are named, mistakes, the page


def test_people_that_are_named(tmp_path):
    simulate(tmp_path / "planted", "--steps=1")
    files = [tmp_path / "planted" / "centuries" / f"century-{t:02}.json" for t in range(3)]
    flags = [f"--century=scripted:leaning?file={file}" for file in files]
    found = simulate(tmp_path / "out", *flags)
    planted = json.loads((tmp_path / "planted" / "progress.json").read_text())
    assert found["trajectories"]["people"] == planted["trajectories"]["people"]
    assert len(found["trajectories"]["alone"]["lifelong"]["centred"]) == 3  # all of them; two can be predicted
    assert json.loads((tmp_path / "out" / "simulation.json").read_text())["steps"] == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--challenge=lead"], "no such challenge; there are follow, predict, coevolve"),
        (
            ["--algorithm=mine"],
            "no such algorithm; there are static, repeat, lifelong, extrapolative and FILE.py:FUNCTION",
        ),
        (["--drift=sideways"], "sideways"),
        (["--steps=0"], "--steps=0: expected at least 1"),
        (["--hold-out=1"], "leaves nothing to be taught"),
        (["--rate=2"], "--rate=2.0: expected a number from 0 to 1"),
        (["--objective=dpo"], "needs an examinee with weights"),
        (["--model=api:x"], "api:x: cannot learn"),
        (["--task=risk"], "its tally is 'likert'; expected a questionnaire with tally 'vector'"),
        (["--algorithm=lifelong", "--order=2"], "--order=2: nothing reads it"),
        (["--algorithm=lifelong", "--challenge=follow", "--ahead=2"], "--ahead=2: nothing reads it"),
        (["--model=OWNER/MODEL", "--rate=0.5"], "--rate=0.5: nothing reads it"),
        (["--century=OWNER/A", "--century=OWNER/B", "--challenge=coevolve", "--model=OWNER/C", "--rate=1"], "--rate=1"),
        (["--century=scripted:first"], "expected at least two centuries"),
        (["--century=scripted:first", "--century=scripted:last", "--drift=none"], "--drift=none: nothing reads it"),
        (["--century=scripted:first", "--century=scripted:last", "--ahead=3"], "too few to take a step"),
        (["--config.optim.speed=1"], "no such field"),
    ],
)
def test_a_mistake(flags, said, tmp_path, capsys):
    assert main.main(["simulate", f"--workdir={tmp_path / 'out'}", *flags]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "said"),
    [('{"kill": 1}\n{"joy": 1}\n', ":2: 'joy' is no tag"), ('{"kill": "1"}\n', ":1: 'kill': found '1'"),
     ('{"kill": 1}\n', "has 1 centuries")],
)  # fmt: skip
def test_a_mistake_in_a_drift(lines, said, tmp_path, capsys):
    (tmp_path / "drift.jsonl").write_text(lines)
    assert main.main(["simulate", f"--workdir={tmp_path / 'out'}", f"--drift={tmp_path / 'drift.jsonl'}"]) == 2
    assert said in capsys.readouterr().err


def test_the_page_says_distances_above_static_and_what_the_published_vector_hides(tmp_path):
    found = simulate(tmp_path, "--steps=2", "--challenge=follow,coevolve", draws=True)
    html, text = ((tmp_path / f"report.{kind}").read_text() for kind in ("html", "md"))
    value = above(found, "follow", "lifelong")["value"]
    assert f"Follow: lifelong has {scores(found, 'follow')['lifelong']:.3f}" in text
    assert f"{value:+.3f} [" in text
    assert "distance above static" in text
    assert "By the published vector all algorithms have" in text
    assert "One path of people and one seed of training" in text
    assert "a sample written for this project" in text
    assert html.count("<svg") == 2 + 3 * 2 * 3  # cosines by step, and trajectories: 3 walks, 2 vectors, 3 algorithms
    assert "&lt;svg" not in html
