"""Rules that read nothing, asked in shown orders, and baselines, whose picks come back in the data's own."""

import numpy as np
import pytest

from moral_jax.analysis import rules
from moral_jax.analysis.rules import Named
from moral_jax.respondents.base import Interview, asks_of
from moral_jax.respondents.baselines.respondent import BaselineRespondent
from moral_jax.respondents.scripted import ScriptedRespondent
from moral_jax.runs.records import make_records
from moral_jax.types import Example, UserError


def example(*options, counts=None, name="row"):
    return Example(name, "Which?", options, counts or (1.0,) * len(options))


THREE = example("bb", "ccc", "a", name="three")
PAIR = example("long one", "short", name="pair")


def choose(name, examples, orders="rotations"):
    respondent = ScriptedRespondent(name, 2.0)
    asks = asks_of(respondent, examples, lambda _: orders)
    return asks, respondent.choose(asks, "questions")


def test_a_rule_is_asked_about_options_as_they_are_shown():
    """In each of the three rotations, then in both orders of a pair, which has a column to spare."""
    asks, choices = choose("longest", [THREE, PAIR])
    assert [order for _, order in asks.items] == [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 1), (1, 0)]
    assert np.exp(choices.log_p_EC).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert choices.log_concentration_E == pytest.approx(np.log([2.0] * 5))
    assert choices.log_mass_E.tolist() == [0.0] * 5
    assert (choices.picked_E, choices.bounds) == (None, None)


def test_a_place_says_nothing_once_orders_are_averaged():
    for name in ("first", "last", "uniform"):
        three, pair = make_records(*choose(name, [THREE, PAIR]))
        assert three["probabilities"] == pytest.approx([1 / 3] * 3)
        assert pair["probabilities"] == pytest.approx([1 / 2] * 2)
        assert (three["concentration"], three["option_mass"]) == (pytest.approx(2), 1)
    assert {tuple(o["probabilities"]) for o in make_records(*choose("first", [PAIR]))[0]["orders"]} == {(1, 0), (0, 1)}


def test_a_place_is_all_where_options_keep_their_own_order():
    shares = {name: make_records(*choose(name, [THREE], "given"))[0]["probabilities"] for name in ("first", "last")}
    assert shares == {"first": [1, 0, 0], "last": [0, 0, 1]}


def test_what_is_longest_stays_so_in_every_order():
    three, pair = make_records(*choose("longest", [THREE, PAIR]))
    assert (three["probabilities"], pair["probabilities"]) == ([0, 1, 0], [1, 0])


def test_a_run_says_which_rule_it_was():
    assert ScriptedRespondent("first", 2.0).about == {
        "path": "scripted:first",
        "description": "always takes the option that is shown first",
    }
    with pytest.raises(UserError, match="scripted:frist: no such .*; there are uniform, first, last, longest, "):
        ScriptedRespondent("frist", 2.0)


def test_an_interview_gives_shares_by_option():
    interview = Interview(ScriptedRespondent("longest", 2.0), lambda _: "rotations")
    assert interview.ask("Which?", ["a", "bbb", "cc"]) == {"a": 0, "bbb": 1, "cc": 0}
    assert Interview(ScriptedRespondent("first", 2.0), lambda _: "given").ask("Which?", ["yes", "no"]) == {
        "yes": 1,
        "no": 0,
    }


class Listener(ScriptedRespondent):
    """Remembers what it was asked."""

    def choose(self, asks, what):
        self.heard = asks
        return super().choose(asks, what)


def test_an_interview_passes_on_all_that_is_asked():
    listener = Listener("uniform", 2.0)
    Interview(listener, lambda _: "rotations").ask("Which?", ["yes", "no"], text="He left.", title="Leaving")
    [heard] = listener.heard.examples
    assert (heard.question, heard.options, heard.title, heard.text) == ("Which?", ("yes", "no"), "Leaving", "He left.")
    assert listener.heard.items == [(0, (0, 1)), (0, (1, 0))]


def test_an_interview_averages_over_the_orders_that_it_was_given(monkeypatch):
    monkeypatch.setitem(rules.RULES, "test", Named(lambda question, order: [0.7, 0.3], "three to seven"))
    asked = {
        name: Interview(ScriptedRespondent("test", 2.0), lambda _, name=name: name) for name in ("given", "rotations")
    }
    assert asked["given"].ask("Which?", ["yes", "no"]) == pytest.approx({"yes": 0.7, "no": 0.3})
    assert asked["rotations"].ask("Which?", ["yes", "no"]) == pytest.approx({"yes": 0.5, "no": 0.5})


TRAIN = [example("aa", "b", counts=(1.0, 4.0)), example("a", "bbb", counts=(3.0, 2.0))]


def test_a_baselines_pick_is_the_place_of_its_option():
    """The shortest option, wherever it is shown; an order of its own is what the data has."""
    respondent = BaselineRespondent("fewest_characters", TRAIN, [], 0, 2.0)
    assert asks_of(respondent, [PAIR], lambda _: "rotations").items == [(0, (0, 1))]  # it sees no places
    shown = ScriptedRespondent("uniform", 2.0)  # to be asked in all orders all the same
    asks = asks_of(shown, [PAIR, THREE], lambda _: "rotations")
    choices = respondent.choose(asks, "questions")
    assert choices.picked_E.tolist() == [1, 0, 2, 1, 0]
    pair, three = make_records(asks, choices)
    assert (pair["choice"], three["choice"]) == (1, 2)


def test_a_baselines_claim_follows_its_option_through_orders():
    respondent = BaselineRespondent("fewest_characters", TRAIN, [], 0, 2.0)
    worth = (1 / 2 + 4 / 5 + 3 / 5) / 3  # one imagined row with even votes, and two of training
    asks = asks_of(ScriptedRespondent("uniform", 2.0), [PAIR], lambda _: "rotations")
    choices = respondent.choose(asks, "questions")
    assert np.exp(choices.log_p_EC).ravel() == pytest.approx([1 - worth, worth, worth, 1 - worth])
    [record] = make_records(asks, choices)
    assert record["probabilities"] == pytest.approx([1 - worth, worth])
    assert record["concentration"] == pytest.approx(2.0)


def test_a_baseline_that_picks_nothing_has_no_picks():
    respondent = BaselineRespondent("prior", TRAIN, [], 0, 2.0)
    choices = respondent.choose(asks_of(respondent, [PAIR], lambda _: "rotations"), "questions")
    assert choices.picked_E is None
    assert np.exp(choices.log_p_EC[0]) == pytest.approx([(1 / 5 + 3 / 5 + 1 / 2) / 3, (4 / 5 + 2 / 5 + 1 / 2) / 3])


def test_the_concentration_of_a_baseline_is_fitted_to_validation_rows():
    """Rows that agree entirely are met by a small concentration, rows that are split as claimed by a large one."""
    split = [example("a", "bb", counts=(4.0, 0.0)), example("a", "bb", counts=(0.0, 4.0))] * 10
    even = [example("a", "bb", counts=(20.0, 20.0))] * 10
    fitted = [BaselineRespondent("prior", even, rows, 0, 2.0).concentration for rows in (split, even)]
    assert fitted[0] < 0.1
    assert fitted[1] > 100
