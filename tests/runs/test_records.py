"""Records: orders brought back into the data's own and averaged, and files that hold nothing else."""

import json
from math import log, sqrt

import numpy as np
import pytest

from moral_jax.runs.records import Asks, Bounds, Choices, entropy, make_records, read_jsonl
from moral_jax.runtime.files import write_jsonl
from moral_jax.types import Example, UserError

THREE = Example("three", "Which?", ("a", "b", "c"), (3.0, 1.0, 0.0), "A title", "A text", None, ("scene",),
                {"kind": "odd"}, (), (1.0, 2.0, 3.0))  # fmt: skip
PAIR = Example("pair", "Which?", ("yes", "no"), (4.0, 1.0), second_counts=(2.0, 3.0))


def logs(rows):
    with np.errstate(divide="ignore"):
        return np.log(np.array(rows))


def choices(p, mass=None, concentration=None, **more):
    """What a respondent says; shares in the order in which options were shown."""
    flat = np.ones(len(p))
    mass, concentration = (flat if x is None else np.array(x) for x in (mass, concentration))
    return Choices(logs(p), np.log(mass), np.log(concentration), **more)


def test_shares_are_brought_back_into_the_datas_order_and_averaged():
    """Shown as (c, a, b), the first share is that of c."""
    asks = Asks([THREE], [(0, (0, 1, 2)), (0, (2, 0, 1))])
    [record] = make_records(asks, choices([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]]))
    assert [o["order"] for o in record["orders"]] == [[0, 1, 2], [2, 0, 1]]
    assert record["orders"][0]["probabilities"] == pytest.approx([0.5, 0.3, 0.2])
    assert record["orders"][1]["probabilities"] == pytest.approx([0.3, 0.1, 0.6])
    assert record["probabilities"] == pytest.approx([0.4, 0.2, 0.4])
    assert record["entropy"] == pytest.approx(-2 * 0.4 * log(0.4) - 0.2 * log(0.2))


def test_asks_may_come_in_any_order_and_narrow_rows_have_columns_to_spare():
    asks = Asks([PAIR, THREE], [(1, (1, 2, 0)), (0, (1, 0)), (0, (0, 1))])
    pair, three = make_records(asks, choices([[0.2, 0.5, 0.3], [0.9, 0.1, 0.7], [0.3, 0.7, 0.7]]))
    assert (pair["id"], three["id"]) == ("pair", "three")
    assert pair["probabilities"] == pytest.approx([(0.1 + 0.3) / 2, (0.9 + 0.7) / 2])
    assert three["probabilities"] == pytest.approx([0.3, 0.2, 0.5])


def test_shares_sum_to_one_whatever_the_options_weigh():
    asks = Asks([PAIR], [(0, (0, 1)), (0, (1, 0))])
    [record] = make_records(asks, choices([[0.03, 0.01], [0.0, 0.2]]))
    assert record["orders"][0]["probabilities"] == pytest.approx([0.75, 0.25])
    assert record["orders"][1]["probabilities"] == [1.0, 0.0]
    assert record["probabilities"] == pytest.approx([0.875, 0.125])


def test_concentrations_are_averaged_in_the_log_and_masses_as_they_are():
    asks = Asks([PAIR], [(0, (0, 1)), (0, (1, 0))])
    [record] = make_records(asks, choices([[0.5, 0.5]] * 2, mass=[0.9, 0.1], concentration=[2.0, 8.0]))
    assert record["concentration"] == pytest.approx(sqrt(2.0 * 8.0))
    assert record["option_mass"] == pytest.approx(0.5)
    assert [o["log_mass"] for o in record["orders"]] == pytest.approx([log(0.9), log(0.1)])
    assert [o["log_concentration"] for o in record["orders"]] == pytest.approx([log(2), log(8)])


def test_options_that_are_no_tokens_have_no_mass():
    asks = Asks([PAIR], [(0, (0, 1))])
    [record] = make_records(asks, Choices(logs([[0.5, 0.5]]), None, np.zeros(1)))
    assert record["option_mass"] is None
    assert record["orders"][0]["log_mass"] is None


def test_a_record_says_what_was_asked_and_what_people_said():
    asks = Asks([THREE, PAIR], [(0, (0, 1, 2)), (1, (0, 1))])
    three, pair = make_records(asks, choices([[0.5, 0.3, 0.2], [0.5, 0.5, 0.0]]))
    given = ("id", "question", "title", "text", "options", "counts", "second_counts", "groups", "keys", "positions")
    assert [three[field] for field in given] == [
        "three", "Which?", "A title", "A text", ["a", "b", "c"], [3, 1, 0], None, {"kind": "odd"}, ["scene"], [1, 2, 3]
    ]  # fmt: skip
    assert pair["second_counts"] == [2, 3]
    assert not {"low", "high", "missing_mass", "choice"} & set(pair)
    assert "unseen" not in pair["orders"][0]


def test_bounds_and_unseen_options_are_in_the_datas_order():
    asks = Asks([THREE], [(0, (0, 1, 2)), (0, (2, 0, 1))])
    bounds = Bounds(
        low_EC=np.array([[0.5, 0.2, 0.0], [0.6, 0.1, 0.0]]),
        high_EC=np.array([[0.7, 0.4, 0.2], [0.9, 0.3, 0.1]]),
        missing_E=np.array([0.2, 0.1]),
        unseen=[[2], [2, 0]],  # places
    )
    [record] = make_records(asks, choices([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]], bounds=bounds))
    assert record["low"] == pytest.approx([(0.5 + 0.1) / 2, (0.2 + 0.0) / 2, (0.0 + 0.6) / 2])
    assert record["high"] == pytest.approx([(0.7 + 0.3) / 2, (0.4 + 0.1) / 2, (0.2 + 0.9) / 2])
    assert record["missing_mass"] == pytest.approx(0.15)
    assert [o["unseen"] for o in record["orders"]] == [[2], [1, 2]]


def test_every_row_has_bounds_of_its_own():
    asks = Asks([PAIR, THREE], [(1, (0, 1, 2)), (0, (1, 0))])
    low = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 9.0]])
    bounds = Bounds(low, low + 0.05, np.array([0.7, 0.6]), [[], [1]])
    pair, three = make_records(asks, choices([[0.3] * 3, [0.5, 0.5, 0.0]], bounds=bounds))
    assert pair["low"] == pytest.approx([0.5, 0.4])
    assert three["high"] == pytest.approx([0.15, 0.25, 0.35])
    assert (pair["missing_mass"], three["missing_mass"]) == (0.6, 0.7)
    assert [r["orders"][0]["unseen"] for r in (pair, three)] == [[0], []]


def test_a_pick_is_the_option_in_that_place_of_the_first_order():
    asks = Asks([THREE, PAIR], [(1, (1, 0)), (0, (2, 0, 1)), (0, (0, 1, 2))])
    said = choices([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.4, 0.3, 0.3]], picked_E=np.array([0, 1, 2]))
    three, pair = make_records(asks, said)
    assert (three["choice"], pair["choice"]) == (0, 1)
    [none] = make_records(Asks([PAIR], [(0, (1, 0))]), choices([[0.5, 0.5]], picked_E=np.array([-1])))
    assert none["choice"] is None
    json.dumps([three, pair])


def test_entropy_counts_what_is_impossible_as_nothing():
    assert entropy(np.array([1.0, 0.0])) == 0
    assert entropy(np.array([0.25] * 4)) == pytest.approx(log(4))


ORDER = {"order": [1, 0], "probabilities": [0.5, 0.5], "log_mass": -1.0}


def row(**changes):
    """A record with all that numbers are made of."""
    known = {"counts": [3, 1], "probabilities": [0.5, 0.5], "concentration": 2.0, "orders": [ORDER], "entropy": 0.7}
    return (
        {"id": "1", "options": ["a", "b"], "second_counts": None, "option_mass": 0.4, "groups": {"g": "x"}}
        | known
        | changes
    )


def order(**changes):
    return row(orders=[ORDER, ORDER | changes])


def test_records_are_read_as_they_were_written(tmp_path):
    rows = [row(text="é \u2028 \n \u05d0"), row(more={"deep": [1.5, None]})]
    write_jsonl(tmp_path / "r.jsonl", rows)
    assert read_jsonl(tmp_path / "r.jsonl") == rows


def test_what_only_some_respondents_have_is_null_elsewhere(tmp_path):
    old = {k: v for k, v in row().items() if k not in ("second_counts", "option_mass", "groups", "entropy")}
    write_jsonl(tmp_path / "r.jsonl", [old])
    filled = {"second_counts": None, "option_mass": None, "groups": {}, "entropy": pytest.approx(log(2))}
    assert read_jsonl(tmp_path / "r.jsonl") == [old | filled]


def test_numbers_that_json_does_not_know_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_jsonl(tmp_path / "r.jsonl", [row(kl=float("nan"))])
    assert not (tmp_path / "r.jsonl").exists()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(options=None), "field 'options': found None"),
        (row(options="ab"), "field 'options': found 'ab'"),
        (row(options=["a"]), r"field 'options': found \['a'\]"),
        (row(counts=[3]), r"field 'counts': found \[3\], expected 2 finite numbers, not all zero"),
        (row(counts=[3, -1]), "field 'counts'"),
        (row(counts=[0, 0]), "field 'counts'"),
        (row(counts=[True, 1]), r"field 'counts': found \[True, 1\]"),
        (row(counts={"a": 3, "b": 1}), "field 'counts'"),
        (row(probabilities=["0.5", "0.5"]), "field 'probabilities'"),
        (row(probabilities=[0.5, float("nan")]), "field 'probabilities'"),
        (row(probabilities=[0.5, float("inf")]), "field 'probabilities'"),
        (row(probabilities=None), "field 'probabilities': found None"),
        (row(id=1), "field 'id': found 1, expected a text"),
        (row(concentration=None), "field 'concentration': found None, expected a positive number"),
        (row(concentration=-1), "field 'concentration': found -1"),
        (row(concentration="2"), "field 'concentration': found '2'"),
        (row(orders=None), "field 'orders': found None, expected a list of objects"),
        (row(orders=[]), "field 'orders'"),
        (row(orders=[1]), "field 'orders'"),
        (order(probabilities=[0.5]), "field 'orders'"),
        (order(order=[0, 0]), "field 'orders'"),
        (order(order=[0, True]), "field 'orders'"),
        (order(order=None), "field 'orders'"),
        (order(log_mass="x"), "field 'orders'"),
        (row(second_counts="x"), "field 'second_counts': found 'x', expected null or 2 finite numbers"),
        (row(second_counts=[1]), "field 'second_counts'"),
        (row(option_mass="x"), "field 'option_mass': found 'x', expected null or a number"),
        (row(entropy="x"), "field 'entropy'"),
        (row(groups=["x"]), "field 'groups'"),
        (row(groups={"g": 1}), "field 'groups': found {'g': 1}, expected an object of texts"),
        (row(choice=2), "field 'choice': found 2, expected a whole number below 2"),
        (row(low=[0.1, 0.2]), "field 'high': found None, expected 2 finite numbers"),
        (row(low=[0.1, 0.2], high=[0.3, 0.4]), "field 'missing_mass'"),
        ([1, 2], "found list, expected a JSON object"),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path, bad, message):
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in (row(), bad, row())))
    with pytest.raises(UserError, match=f"r.jsonl:2: .*{message}"):
        read_jsonl(path)


def test_a_file_without_records_and_a_cut_one_are_named(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text("")
    with pytest.raises(UserError, match="r.jsonl: holds no records; delete it and score the rows again"):
        read_jsonl(path)
    path.write_text(json.dumps(row()) + "\n" + json.dumps(row())[:20])
    with pytest.raises(UserError, match="r.jsonl:2: not valid JSON"):
        read_jsonl(path)
    with pytest.raises(UserError, match="nowhere.jsonl: cannot be read"):
        read_jsonl(tmp_path / "nowhere.jsonl")
