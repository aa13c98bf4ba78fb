"""Extrapolation, challenges and the vector of values: golden values of ProgressGym and numbers by hand."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moral_jax.analysis import drift, progress
from moral_jax.analysis.tallies import vector

Record = dict[str, Any]


@pytest.mark.parametrize(
    ("seen", "order", "expected"),
    [
        ([-1, 1], 1, [3, 5, 7]),
        ([1, 1], 1, [1]),
        ([-1, -1, 1], 2, [5, 11]),
        ([0, 1], 1, [2]),
        ([1, 0], 1, [-1]),
        ([1], 1, [1]),  # too few for the order: it stays as it is
        ([-1, 1], 2, [3, 5]),  # too few for a curve: a straight line
        ([0, 1, 1], 2, [0]),  # a vote that is missing can lead to nothing
    ],
)
def test_extrapolation(seen, order, expected):
    heard = [{"pair": np.array([float(x), -float(x)])} for x in seen]
    for ahead, value in enumerate(expected, 1):
        np.testing.assert_allclose(progress.extrapolated(heard, order, ahead)["pair"], [value, -value])


def test_shares_that_are_extrapolated_stay_shares():
    heard = [{"r": np.array([0.7, 0.2, 0.1])}, {"r": np.array([0.4, 0.55, 0.05])}]
    taught = progress.extrapolated(heard, 1, 2)
    np.testing.assert_allclose(taught["r"], [-0.2, 1.25, -0.05])
    np.testing.assert_allclose(progress.as_shares(taught)["r"], [0, 1, 0])


def test_algorithms_teach_what_they_say():
    heard = [{"r": np.array([0.5, 0.5])}, {"r": np.array([0.6, 0.4])}]
    said = {name: algorithm(heard, 1, 1) for name, algorithm in progress.ALGORITHMS.items()}
    assert said["static"] is None
    np.testing.assert_allclose(said["repeat"]["r"], [0.5, 0.5])
    np.testing.assert_allclose(said["lifelong"]["r"], [0.6, 0.4])
    np.testing.assert_allclose(said["extrapolative"]["r"], [0.7, 0.3])


def test_votes_of_pairs():
    said = progress.votes({"two": np.array([0.7, 0.3]), "three": np.array([0.2, 0.6, 0.2])})
    assert said["two"].tolist() == [1]
    assert dict(zip(progress.pairs(3), said["three"].tolist(), strict=True)) == {(0, 1): -1, (0, 2): 0, (1, 2): 1}


def path(*degrees: float) -> list[np.ndarray]:
    """Returns unit vectors at some angles, [R, V] each: a cosine is that of the difference."""
    return [np.array([[np.cos(np.radians(d)), np.sin(np.radians(d))]]) for d in degrees]


def cos(degrees: float) -> float:
    return float(np.cos(np.radians(degrees)))


def test_follow_and_predict_leave_the_first_century_out():
    examinee, people = path(90, 10, 20), path(0, 20, 60, 90)
    assert progress.follow(examinee, people, 1)[0] == pytest.approx((cos(10) + cos(40)) / 2)
    assert progress.predict(examinee, people, 1)[0] == pytest.approx((cos(50) + cos(70)) / 2)
    assert progress.predict(examinee, people, 2)[0] == pytest.approx(cos(80))  # who comes after is not known


def test_coevolve_takes_the_best_of_later_people_for_every_proxy():
    proxies, people = path(0, 30), path(0, 60, 120)
    first = [cos(0), cos(60)]  # of people at 0 and 60, the two times that were walked; later: cos(60) alone
    second = [cos(30), cos(30)]
    assert progress.coevolve(proxies, people, 1)[0] == pytest.approx(np.mean([*first, *second]))


def test_who_says_the_same_to_everything_has_a_cosine_of_0():
    assert vector.cosine(np.zeros(3), np.ones(3)) == 0


ROWS = [
    {"row": "a", "options": ["x", "y"], "tags": [["kind"], ["just"]]},
    {"row": "b", "options": ["x", "y", "z"], "tags": [["kind"], [], ["just"]]},
    {"row": "c", "options": ["x", "y"], "tags": []},
]


def test_planted_shares_follow_the_weights():
    said = drift.shares(ROWS, {"kind": 1.0, "just": 0.0})
    np.testing.assert_allclose(said["a"], [np.e / (1 + np.e), 1 / (1 + np.e)])
    np.testing.assert_allclose(said["b"], np.array([np.e, 1, 1]) / (2 + np.e))
    np.testing.assert_allclose(said["c"], [0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "moved"), [("straight", [0, 1, 2, 3]), ("none", [0] * 4), ("reversing", [0, 1, 0, 1])]
)
def test_paths_of_weights(name, moved):
    weights = drift.planted(["kind", "just"], name, 4, pace=0.5, seed=3)
    straight = drift.planted(["kind", "just"], "straight", 2, pace=0.5, seed=3)
    for tag in ("kind", "just"):
        step = straight[1][tag] - straight[0][tag]
        assert abs(step) > 1e-3
        assert [w[tag] - weights[0][tag] for w in weights] == pytest.approx([step * x for x in moved])
    assert drift.planted(["kind", "just"], name, 4, pace=0.5, seed=4)[0] != weights[0]


# the original's rows


@pytest.fixture(scope="module")
def original(shared: Path) -> list[Record]:
    """The original's items: 680 with rules, 600 of foundations, 539 of views as they are, a header among them."""

    def lines(name: str) -> list[dict[str, str]]:
        return list(csv.DictReader((shared / name).open()))

    def row(block: str, line: dict[str, str], options: int, **more: str) -> Record:
        tags = [[f"{k[3:]}={v}" for k, v in line.items() if k.startswith(f"a{i}_")] for i in (1, 2)]
        return {"row": f"{block} {line['scenario_id']}", "options": [line[f"action{i + 1}"] for i in range(options)],
                "tags": tags if block == "rules" else [], "groups": {"block": block, **more}}  # fmt: skip

    rules = [row("rules", line, 2) for line in lines("moralchoice/moralchoice_high_ambiguity.csv")]
    themes = lines("progressgym/foundation_final.csv")
    foundations = [row("foundations", line, 2, theme=line["generation_theme"]) for line in themes]
    return [*rules, *foundations, *(row("views", line, 4) for line in lines("progressgym/views_final.csv"))]


def values_of(rows: list[Record], says: Callable[[Record], list[float]]) -> dict[str, np.ndarray]:
    """Returns the vectors of an agent."""
    said = [row | {"probabilities": says(row), "condition": {}, "respondent": "agent"} for row in rows]
    found = progress.vectors(said, {row["row"]: i for i, row in enumerate(rows)}, np.ones((1, len(rows))))
    return {column: x_RV[0] for column, x_RV in found.items()}


def cosines(rows: list[Record], one: Callable, other: Callable) -> dict[str, float]:
    a, b = values_of(rows, one), values_of(rows, other)
    return {column: float(vector.cosine(a[column], b[column])) for column in a}


def indifferent(row: Record) -> list[float]:
    return [1 / len(row["options"])] * len(row["options"])


def always_first(row: Record) -> list[float]:
    return [1.0] + [0.0] * (len(row["options"]) - 1)


def by_rules(sign: int) -> Callable[[Record], list[float]]:
    """Returns an agent that takes the action which breaks fewer rules (sign 1), or more; indifferent elsewhere."""

    def says(row: Record) -> list[float]:
        if row["groups"]["block"] != "rules":
            return indifferent(row)
        names = [tag.partition("=")[0] for tag in row["tags"][0]]
        kept = sign * sum(vector._sign(row, name) for name in names)
        return [0.5 + 0.5 * np.sign(kept), 0.5 - 0.5 * np.sign(kept)]

    return says


def test_golden_cosines_of_the_published_vector(original):
    assert cosines(original, indifferent, always_first)["published"] == pytest.approx(0.7068, abs=5e-5)
    found = cosines(original, by_rules(1), by_rules(-1))
    assert found["published"] == pytest.approx(0.4543, abs=5e-5)
    assert found["centred"] == pytest.approx(-1)
    assert len(values_of(original, indifferent)["published"]) == 19


def test_random_agents_are_alike_by_the_published_vector_and_not_by_the_centred_one(original):
    rng = np.random.default_rng(0)
    found = [cosines(original, *[lambda row: rng.dirichlet(np.ones(len(row["options"]))).tolist()] * 2)
             for _ in range(16)]  # fmt: skip
    published, centred = (np.array([one[column] for one in found]) for column in ("published", "centred"))
    assert published.mean() == pytest.approx(0.998, abs=0.001)
    assert published.min() > 0.995
    assert abs(centred.mean() + 0.02) < 3 * 0.3 / 4  # the mean over 200 pairs is -0.02, their deviation 0.30
    assert 0.2 < centred.std() < 0.4
