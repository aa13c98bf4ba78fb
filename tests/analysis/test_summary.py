"""The pieces of a summary on small records, against numbers from pencil and paper."""

from math import exp, log

import numpy as np
import pytest

from moral_jax.analysis import legacy, share_calibration, summary, yardsticks
from moral_jax.analysis.calibrate import Calibration
from moral_jax.analysis.table import from_examples, from_records
from moral_jax.runs.quantities import MAIN, QUANTITIES
from moral_jax.types import Example


def order(places, p, log_mass=0.0):
    return {"order": places, "probabilities": p, "log_mass": log_mass}


def record(p, counts, orders=None, **more):
    """A row whose shares are the mean of its orders, or which was shown in the given order alone."""
    orders = orders or [order(list(range(len(p))), p)]
    return {
        "options": [f"option {i}" for i in range(len(p))],
        "counts": counts,
        "second_counts": None,
        "groups": {},
        "probabilities": p,
        "option_mass": 1.0,
        "entropy": 0.5,
        "concentration": 2.0,
        "orders": orders,
    } | more


def two_orders(given, turned, counts=(3, 1)):
    """A row of two options; both distributions in the data's own order."""
    mean = [(a + b) / 2 for a, b in zip(given, turned, strict=True)]
    return record(mean, list(counts), [order([0, 1], given), order([1, 0], turned)])


def values(estimates):
    return {name: e["value"] for name, e in estimates.items()}


def summarised(records, calibration=None, train=None):
    return summary.summarise(records, calibration, train, resamples=100, draws=10, seed=0)


def test_order_sensitivity_is_the_mean_distance_from_the_average_over_orders():
    assert summary.order_sensitivity(two_orders([0.8, 0.2], [0.6, 0.4])) == pytest.approx(0.1)
    certain = [order([0, 1, 2], [1, 0, 0]), order([1, 2, 0], [0, 1, 0]), order([2, 0, 1], [0, 0, 1])]
    assert summary.order_sensitivity(record([1 / 3] * 3, [1, 1, 1], certain)) == pytest.approx(2 / 3)
    assert summary.order_sensitivity(record([0.8, 0.2], [3, 1])) == 0


def test_first_place_bias_is_what_the_option_shown_first_gets_above_an_equal_share():
    always_first = two_orders([1.0, 0.0], [0.0, 1.0])
    never_first = two_orders([0.0, 1.0], [1.0, 0.0])
    some = two_orders([0.8, 0.2], [0.6, 0.4])  # 0.8 and 0.4 in the first place
    assert [summary.first_place_bias(r) for r in (always_first, never_first, some)] == pytest.approx([0.5, -0.5, 0.1])
    three = record([0.2, 0.5, 0.3], [1, 1, 1], [order([2, 0, 1], [0.2, 0.5, 0.3])])
    assert summary.first_place_bias(three) == pytest.approx(0.3 - 1 / 3)


def test_effects_of_order_are_means_over_rows_and_need_a_row_in_two_orders():
    rows = [two_orders([0.8, 0.2], [0.6, 0.4]), two_orders([1.0, 0.0], [0.0, 1.0])]
    effects = {name: x.mean() for name, x in summary.order_effects(rows).items()}
    assert effects == pytest.approx({"first_place_bias": (0.1 + 0.5) / 2, "order_sensitivity": (0.1 + 0.5) / 2})
    assert summary.order_effects([record([0.8, 0.2], [3, 1])] * 2) == {}


def test_rows_get_their_divergence_and_their_sensitivity_and_keep_the_rest():
    rows = [two_orders([0.6, 0.4], [0.4, 0.6]), record([0.75, 0.25, 0.0], [3, 1, 0], id="own")]
    first, second = summary.with_row_numbers(rows)
    assert first["kl"] == pytest.approx(0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5))
    assert first["order_sensitivity"] == pytest.approx(0.1)
    assert (second["kl"], second["order_sensitivity"]) == (pytest.approx(0), 0)
    assert {k: v for k, v in second.items() if k not in ("kl", "order_sensitivity")} == rows[1]
    assert "kl" not in rows[0]


def picked(rows, choices):
    return [r | {"choice": choice} for r, choice in zip(rows, choices, strict=True)]


def test_choices_are_scored_whatever_the_shares_say():
    rows = [record([0.9, 0.1], counts) for counts in ([4, 1], [3, 2], [2, 3], [0, 5])]
    rows = picked(rows, [0, 1, 1, 1])  # the first options' F1 is 2 / 3, the second options' 4 / 5
    scores = summary.choices(rows, from_records(rows))
    assert scores["choice_accuracy"].tolist() == [1, 0, 1, 1]
    assert scores["choice_macro_f1"](np.ones((1, 4)))[0] == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_a_rule_that_finds_its_options_alike_picks_all_of_them():
    rows = picked([record([0.5, 0.5], [4, 1]), record([0.9, 0.1], [4, 1])], [None, 0])
    assert summary.choices(rows, from_records(rows))["choice_accuracy"].tolist() == [0.5, 1]


def test_rows_without_choices_have_none_to_score():
    rows = [record([0.9, 0.1], [4, 1])] * 3
    assert summary.choices([*picked(rows[:2], [0, 1]), rows[2]], from_records(rows)) == {}


def test_the_second_panel_judges_the_model_and_the_first_panel_on_rows_that_it_saw():
    votes = [([0.9, 0.1], [4, 1], [0, 5]), ([0.9, 0.1], [1, 4], [5, 0]), ([0.9, 0.1], [1, 4], [4, 1]),
             ([0.2, 0.8], [1, 4], [1, 4]), ([0.2, 0.8], [4, 1], [3, 2])]  # fmt: skip
    rows = [record(p, counts, second_counts=second) for p, counts, second in votes]
    rows.insert(2, record([0.9, 0.1], [4, 1]))
    agreement = values(summary.second_panel(rows, from_records(rows), 100, 0))
    assert agreement == pytest.approx({"second_panel_agreement": 3 / 5, "second_panel_people": 2 / 5})
    assert summary.second_panel(rows[:5], from_records(rows[:5]), 100, 0) == {}  # it saw four of them


def test_legacy_metrics_take_the_first_order_and_the_mass_as_they_are():
    shown = [order([0, 1], [0.8, 0.2], log(0.5)), order([1, 0], [0.1, 0.9], log(0.01))]
    rows = [record([0.45, 0.55], [3, 1], shown)]
    scores = legacy.values(rows, from_records(rows))
    # shares that were not renormalised: 0.4 and 0.1, taken for logits and for alpha
    log_sum = log(exp(0.4) + exp(0.1))
    assert scores["legacy_cross_entropy"] == pytest.approx([log_sum - 0.75 * 0.4 - 0.25 * 0.1])
    likelihood = (0.4 * 1.4 * 2.4) * 0.1 / (0.5 * 1.5 * 2.5 * 3.5)
    assert scores["legacy_dirichlet"] == pytest.approx([-log(likelihood)])


def test_there_are_no_legacy_metrics_where_an_answer_is_no_token():
    rows = [record([0.8, 0.2], [3, 1]), record([0.8, 0.2], [3, 1], option_mass=None)]
    assert legacy.values(rows, from_records(rows)) == {}


def test_yardsticks_of_constants():
    rows = [record([0.9, 0.1], [4, 0]), record([0.9, 0.1], [2, 2])]
    train = from_examples([Example("t", "?", ("a", "b"), (1.0, 4.0))])
    out = yardsticks.table(from_records(rows), train, None, draws=3, seed=0)
    assert list(out) == ["uniform", "train prior", "best constant", "BEST"]
    assert all(set(MAIN) <= set(scores) for scores in out.values())
    assert out["uniform"]["cross_entropy"] == pytest.approx(log(2))
    # one flat prior: 1 of 5 for four equal votes, 1 of 30 for two of each
    assert out["uniform"]["dirichlet_nll"] == pytest.approx((log(5) + log(30)) / 2)
    assert out["best constant"]["cross_entropy"] == pytest.approx(-0.75 * log(0.75) - 0.25 * log(0.25))
    share = (0.2 + 0.5) / 2  # one training row, and an imagined one with even votes
    assert out["train prior"]["cross_entropy"] == pytest.approx(-0.75 * log(share) - 0.25 * log(1 - share))
    # of the tied options of the second row either is right
    assert [out[k]["accuracy"] for k in ("uniform", "train prior", "best constant")] == [0.5, 0.25, 0.75]


def test_the_training_votes_are_a_yardstick_only_where_there_are_some():
    t = from_records([record([0.9, 0.1], [4, 0]), record([0.9, 0.1], [2, 2])])
    assert list(yardsticks.table(t, None, None, draws=3, seed=0)) == ["uniform", "best constant", "BEST"]
    second = np.array([[3.0, 1.0], [1.0, 3.0]])
    found = yardsticks.table(t, None, second, draws=3, seed=0)["second panel"]
    assert found["accuracy"] == 0.75


def test_true_shares_are_near_the_shares_of_many_votes():
    rows = [record([0.5, 0.5], [3_000_000, 1_000_000]), record([0.5, 0.5], [1_000_000, 3_000_000])]
    best = yardsticks.table(from_records(rows), None, None, draws=5, seed=0)["BEST"]
    entropy = -0.75 * log(0.75) - 0.25 * log(0.25)
    assert best["cross_entropy"] == pytest.approx(entropy, rel=1e-4)
    assert best["vote_entropy"] == pytest.approx(entropy, rel=1e-4)
    assert best["dirichlet_nll"] == pytest.approx(4_000_000 * best["cross_entropy"])
    assert best["accuracy"] == 1


def five(p):
    """Five rows that differ, with a second panel."""
    votes = ([4, 1], [1, 4], [5, 0], [2, 3], [3, 2])
    return [record(list(p), counts, second_counts=counts) for counts in votes]


def test_what_a_model_is_worth_beside_the_yardsticks():
    """The best constant has gone no part of the way and explains nothing; the true shares themselves all of both."""
    rows = five([0.6, 0.4])
    t = from_records(rows)
    of, one = yardsticks.rows(t, yardsticks.second_votes(rows, 2)), np.ones((1, 5))
    nothing = yardsticks.relative(t, of)
    assert {name: f(one)[0] for name, f in nothing.items()} == pytest.approx(
        {"explained": 0, "way_to_true_shares": 0, "worth_in_votes": 0}, abs=0.02
    )
    half = of._replace(constant=of.constant | {"squared_distance": 2 * of.constant["squared_distance"]})
    assert yardsticks.relative(t, half)["explained"](one)[0] == pytest.approx(0.5)
    knows = yardsticks.relative(t.replace(p_EC=t.q_EC), of)
    assert knows["explained"](one)[0] > 1  # it has seen the votes
    assert knows["worth_in_votes"](one)[0] == 5
    assert "worth_in_votes" not in yardsticks.relative(t, yardsticks.rows(t, None))


def test_a_model_is_held_against_the_yardsticks_row_by_row():
    """Rows differ much more than model and constant: only paired is the difference seen."""
    rows = five([0.62, 0.38])
    got = summarised(rows)
    mean = np.mean([-(r["counts"][0] * log(0.62) + r["counts"][1] * log(0.38)) / 5 for r in rows])
    constant = -0.6 * log(0.6) - 0.4 * log(0.4)
    against = got["against"]["best constant"]
    assert against["value"] == pytest.approx(mean - constant)
    alone = got["metrics"]["cross_entropy"]
    assert against["high"] - against["low"] < (alone["high"] - alone["low"]) / 3
    assert set(got["against"]) == {"best constant", "BEST", "second panel"}
    assert got["votes_curve"][0] > 0


def test_reliability_is_the_mean_of_every_bin_that_holds_a_share():
    rows = [record([0.95, 0.05], [1, 0]), record([0.92, 0.08], [1, 1]), record([0.5, 0.0, 0.5], [1, 0, 3])]
    low, middle, high = share_calibration.reliability(from_records(rows))
    assert low == pytest.approx({"predicted": (0.05 + 0.08 + 0) / 3, "human": (0 + 0.5 + 0) / 3, "pairs": 3})
    assert middle == pytest.approx({"predicted": 0.5, "human": (0.25 + 0.75) / 2, "pairs": 2})
    assert high == pytest.approx({"predicted": 0.935, "human": 0.75, "pairs": 2})
    assert share_calibration.reliability(from_records([record([1.0, 0.0], [4, 1])]))[-1]["predicted"] == 1


def grouped(name, counts, p=(0.9, 0.1)):
    return record(list(p), counts, groups={"vote split": name} if name else {})


def test_groups_are_scored_alone_and_small_ones_left_out():
    rows = (
        [grouped("5-0", [5, 0]) for _ in range(5)] + [grouped("3-2", [2, 3]) for _ in range(4)] + [grouped("", [0, 5])]
    )
    t = from_records(rows)
    of = yardsticks.rows(t, None)
    found = summary.groups(rows, t, of, 100, 0)
    assert list(found) == ["vote split"]
    assert list(found["vote split"]) == ["5-0"]
    scores = found["vote split"]["5-0"]
    assert scores["rows"] == 5
    assert scores["cross_entropy"]["value"] == pytest.approx(-log(0.9))
    assert scores["accuracy"]["value"] == 1
    assert scores["BEST"] == pytest.approx(of.true_shares["cross_entropy"][:5].mean())
    assert scores["BEST"] > 0  # the votes' entropy is 0 here, which nobody could reach
    assert scores["total_variation"]["value"] == pytest.approx(0.1)


def test_groups_by_a_second_panel_have_the_true_shares_of_who_knows_both():
    """Shares are drawn, then both panels' votes: in every group the true shares score what the column says."""
    rng = np.random.default_rng(0)
    true = rng.dirichlet([1, 1], 6000)
    votes, second = (np.array([rng.multinomial(5, p) for p in true]) for _ in range(2))
    rows = [
        record(list(p), c.tolist(), second_counts=s.tolist(), groups={"split": str(max(s))})
        for p, c, s in zip(true, votes, second, strict=True)
    ]
    t = from_records(rows)
    of = yardsticks.rows(t, yardsticks.second_votes(rows, 2))
    for name, group in summary.groups(rows, t, of, 100, 0)["split"].items():
        assert group["BEST"] == pytest.approx(group["cross_entropy"]["value"], abs=0.012)
        of_votes_alone = of.true_shares["cross_entropy"][[r["groups"]["split"] == name for r in rows]].mean()
        assert name == "4" or abs(of_votes_alone - group["BEST"]) > 0.02


def test_a_kind_of_groups_that_are_all_small_is_left_out():
    rows = [grouped(name, [5, 0]) for name in "aaaabbbb"]
    t = from_records(rows)
    assert summary.groups(rows, t, yardsticks.rows(t, None), 100, 0) == {}


def test_calibrated_metrics_cool_the_shares_and_scale_the_concentration():
    t = from_records([record([0.8, 0.2], [1, 0])])
    got = summary.calibrated(t, Calibration(temperature=2.0, concentration_factor=0.5, fixed_concentration=9.0))
    assert got["calibrated_cross_entropy"] == pytest.approx([-log(2 / 3)])  # roots of 4 to 1 are 2 to 1
    assert got["calibrated_dirichlet_nll"] == pytest.approx([-log(0.8)])
    two_votes = from_records([record([0.8, 0.2], [2, 0])])
    halved = summary.calibrated(two_votes, Calibration(1.0, 0.5, 9.0))["calibrated_dirichlet_nll"]
    assert halved == pytest.approx([-log(0.8 * 1.8 / 2)])  # alpha is 0.8 and 0.2


def test_a_summary_of_equal_rows_has_intervals_without_width():
    rows = [two_orders([0.8, 0.2], [0.6, 0.4]) | {"option_mass": 0.3, "concentration": 4.0} for _ in range(6)]
    got = summarised(rows)
    assert got["rows"] == 6
    assert got["calibration"] is None
    assert got["bounds"] is None
    found = got["metrics"]
    entropy = -0.7 * log(0.7) - 0.3 * log(0.3)
    want = {"option_mass": 0.3, "concentration": 4, "prediction_entropy": entropy, "order_sensitivity": 0.1,
            "total_variation": 0.05, "accuracy": 1}  # fmt: skip
    assert {name: found[name]["value"] for name in want} == pytest.approx(want)
    assert all(e["low"] == pytest.approx(e["value"]) == pytest.approx(e["high"]) for e in found.values() if "low" in e)
    assert set(found) <= set(QUANTITIES)
    assert not {name for name in found if name.startswith(("choice_", "second_panel", "calibrated_"))}
    assert {"legacy_cross_entropy", "legacy_dirichlet"} <= set(found)


def test_a_summary_says_how_it_was_calibrated():
    rows = [record([0.8, 0.2], [5, 0]) for _ in range(6)]
    got = summarised(rows, Calibration(2.0, 1.0, 3.0))
    assert got["calibration"] == {"temperature": 2.0, "concentration_factor": 1.0, "fixed_concentration": 3.0}
    assert got["metrics"]["calibrated_cross_entropy"]["value"] == pytest.approx(-log(2 / 3))
    assert got["metrics"]["cross_entropy"]["value"] == pytest.approx(-log(0.8))


def test_option_mass_is_left_out_where_a_row_has_none():
    rows = [record([0.8, 0.2], [5, 0]) for _ in range(5)] + [record([0.8, 0.2], [5, 0], option_mass=None)]
    assert not {"option_mass", "legacy_cross_entropy"} & set(summarised(rows)["metrics"])


def test_a_validation_logs_means_without_intervals():
    rows = [record([0.8, 0.2], [2, 0]), record([0.4, 0.6], [2, 0])]
    assert summary.point_estimates(rows, summary.VALIDATED) == pytest.approx(
        {
            "cross_entropy": -(log(0.8) + log(0.4)) / 2,
            "dirichlet_nll": -(log(0.8 * 2.6 / 3) + log(0.4 * 1.8 / 3)) / 2,  # the concentration is 2
            "accuracy": 0.5,
        }
    )


def test_a_difference_is_after_minus_before():
    before = [record([0.4, 0.6], [4, 0]) for _ in range(5)]
    after = [record([0.8, 0.2], [4, 0]) for _ in range(5)]
    difference = values(summary.compare(before, after, 100, 0))
    assert difference["cross_entropy"] == pytest.approx(log(0.4) - log(0.8))
    assert difference["total_variation"] == pytest.approx(0.2 - 0.6)
    assert difference["accuracy"] == 1
    assert set(difference) == {"cross_entropy", "dirichlet_nll", "total_variation", "accuracy", "macro_f1"}


def test_differences_are_paired_by_row():
    """Every row gains 0.1, however far it is from its votes: nothing is left to vary."""
    far = (0.1, 0.3, 0.5, 0.7, 0.9)
    before = [record([1 - x, x], [4, 0]) for x in far]
    after = [record([1 - x + 0.1, x - 0.1], [4, 0]) for x in far]
    gain = summary.compare(before, after, 200, 0)["total_variation"]
    assert [gain["value"], gain["low"], gain["high"]] == pytest.approx([-0.1] * 3)
    alone = summarised(before)["metrics"]["total_variation"]
    assert alone["high"] - alone["low"] > 0.2


def shared(rows):
    """Each action stands in two rows, in a ring."""
    return [r | {"keys": [f"a{i}", f"a{(i + 1) % len(rows)}"]} for i, r in enumerate(rows)]


def test_rows_that_share_an_action_make_every_interval_wider():
    """Four runs of five equal rows: what is wrong with an action is wrong in all of its rows."""
    of_run = ([0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.2, 0.8])
    votes = ([4, 1], [4, 1], [0, 5], [5, 0])
    before = [record(p, c, groups={"all": "yes"}) for p, c in zip(of_run, votes, strict=True) for _ in range(5)]
    after = [r | {"probabilities": [r["probabilities"][0] / 2 + 0.4, r["probabilities"][1] / 2 + 0.1]} for r in before]
    alone, together = summarised(before), summarised(shared(before))
    assert alone["shared"] == {"known": False, "rows_share": False, "cross_entropy_ratio": 1.0}
    assert (together["shared"]["known"], together["shared"]["rows_share"]) == (True, True)
    for name in ("cross_entropy", "dirichlet_nll", "total_variation", "accuracy", "explained"):
        few, more = (x["metrics"][name] for x in (alone, together))
        assert (more["high"] - more["low"]) > 1.2 * (few["high"] - few["low"]), name
        assert more["value"] == few["value"]
    few, more = (x["groups"]["all"]["yes"]["cross_entropy"] for x in (alone, together))
    assert (more["high"] - more["low"]) > 1.2 * (few["high"] - few["low"])
    few, more = (
        summary.compare(*x, 200, 0)["cross_entropy"] for x in ((before, after), (shared(before), shared(after)))
    )
    assert (more["high"] - more["low"]) > 1.2 * (few["high"] - few["low"])


@pytest.mark.fault("a single test row", promise="numbers without intervals")
def test_one_row_has_numbers_and_no_interval():
    got = summarised([record([0.8, 0.2], [5, 0], second_counts=[4, 1])])
    assert got["metrics"]["cross_entropy"] == {"value": pytest.approx(-log(0.8))}
    assert got["against"]["best constant"].keys() == {"value"}


def test_a_scale_has_a_distance_on_it():
    rows = [record([0.1, 0.5, 0.4], [2, 3, 5], positions=[1, 2, 3]) for _ in range(5)]
    assert summarised(rows)["metrics"]["wasserstein"]["value"] == pytest.approx(0.1)
    rows[0]["positions"] = []
    assert summarised(rows)["metrics"]["wasserstein"]["value"] == pytest.approx(0.1)
    assert "wasserstein" not in summarised([r | {"positions": []} for r in rows])["metrics"]
