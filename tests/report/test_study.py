"""Tests the page of a study: sentences claim no more than the numbers show, and nothing is dropped or loaded."""

import json

import pytest

from moral_jax.report.study import findings, page, tables
from tests.report.test_page import Elements

SCRIPT = "<script>alert('x')</script>"


def estimate(value, spread=0.01):
    return {"value": value, "low": value - spread, "high": value + spread}


def key(row, training="", share=1.0):
    return {"row": row, "training": training, "share": share}


def entry(row, training="", share=1.0, ce=0.65, seeds=(0, 1, 2), planned=3, **metrics):
    numbers = {"cross_entropy": ce, "dirichlet_nll": 3.0, "total_variation": 0.3, "accuracy": 0.6, "macro_f1": 0.6}
    numbers |= {"legacy_cross_entropy": 0.7, "legacy_dirichlet": 4.0, "option_mass": 0.1} | metrics
    out = key(row, training, share) | {"planned": planned, "seeds": list(seeds), "metrics": {}}
    if seeds:
        out["metrics"] = {m: estimate(v) for m, v in numbers.items()}
        out["reliability"] = [
            {"predicted": 0.3, "human": 0.4, "pairs": 5},
            {"predicted": 0.7, "human": 0.6, "pairs": 5},
        ]
        out["train_rows"] = round(1000 * share)
    return out


def comparison(what, a, b, value, p, a_value=0.6, spread=0.01, metric="cross_entropy", one_seed=(), bound=False):
    return {
        "metric": metric, "what": what, "a": a, "b": b, "a_value": a_value, "b_value": a_value - value, "family": 3,
        **estimate(value, spread), "p": p / 2, "p_is_bound": bound, "p_family": p, "p_family_is_bound": bound,
        "one_seed": list(one_seed),
    }  # fmt: skip


YARD = {"cross_entropy": 0.69, "dirichlet_nll": 3.1, "total_variation": 0.3, "accuracy": 0.5, "macro_f1": 0.34}


def task(entries=(), comparisons=(), **more):
    return {
        "name": "dilemmas", "rows": 468, "split": "test", "about": {"task": "dilemmas", "description": SCRIPT},
        "entries": list(entries), "comparisons": list(comparisons), "groups": [],
        "yardsticks": {"best constant": YARD, "BEST": YARD | {"cross_entropy": 0.49}},
        "lowest": {"cross_entropy": ROBERTA}, "same": [], "votes_curve": None, "keys_known": True,
    } | more  # fmt: skip


CONSTANT, PANEL = key("best constant"), key("as many other people")
ROBERTA, MISTRAL, ZERO = key("RoBERTa", "CE-tuned"), key("Mistral", "CE-tuned"), key("Mistral", "zero-shot")


def test_a_real_difference_is_said_with_its_numbers():
    [said] = findings.models(task(comparisons=[comparison("models", ROBERTA, MISTRAL, -0.08, 0.003, a_value=0.58)]))
    assert said == (
        "Lowest cross-entropy: RoBERTa (CE-tuned) with 0.580, lower than Mistral (CE-tuned) (0.660, p = 0.003)."
    )
    [said] = findings.tuning(task(comparisons=[comparison("tuning", MISTRAL, ZERO, -0.05, 0.0004)]))
    assert said.startswith(
        "Mistral (CE-tuned): fine-tuning lowered the cross-entropy, 0.650 to 0.600 (difference -0.050"
    )
    assert said.endswith("95 % interval -0.060 to -0.040, p < 0.001).")
    beyond = comparison("tuning", MISTRAL, ZERO, -0.05, 0.0001, bound=True)
    assert findings.tuning(task(comparisons=[beyond]))[0].endswith("-0.040, p ≤ 0.0001).")  # what no draw reached


@pytest.mark.parametrize(
    ("value", "spread", "p"),
    [(-0.05, 0.06, 0.04), (-0.05, 0.01, 0.06), (0.0, 0.01, 1.0)],
    ids=["zero in the interval", "p above the level after the correction", "nothing at all"],
)
def test_what_the_interval_does_not_carry_is_not_claimed(value, spread, p):
    def one(what, a, b):
        return task(comparisons=[comparison(what, a, b, value, p, spread=spread)])

    assert "not told apart from Mistral" in findings.models(one("models", ROBERTA, MISTRAL))[0]
    assert "no effect of fine-tuning on the cross-entropy is shown" in findings.tuning(one("tuning", MISTRAL, ZERO))[0]
    other = key("Mistral", "Dirichlet-tuned")
    assert "makes no clear difference" in findings.objective(one("objective", MISTRAL, other))[0]
    half = key("Mistral", "CE-tuned", 0.5)
    assert "no effect is shown" in findings.data(one("data", MISTRAL, half))[0]


def test_harm_is_said_too():
    assert (
        "raised the cross-entropy"
        in findings.tuning(task(comparisons=[comparison("tuning", MISTRAL, ZERO, 0.05, 0.01)]))[0]
    )
    half = key("Mistral", "CE-tuned", 0.5)
    [said] = findings.data(task(comparisons=[comparison("data", MISTRAL, half, 0.05, 0.01)]))
    assert "from 50 % to 100 % of the training rows: more rows hurt" in said
    other = key("Mistral", "Dirichlet-tuned")
    [said] = findings.objective(task(comparisons=[comparison("objective", MISTRAL, other, 0.05, 0.01)]))
    assert "Dirichlet-tuned has the lower cross-entropy than CE-tuned" in said


def test_of_tuning_the_number_that_it_trains_is_told():
    both = [comparison("tuning", MISTRAL, ZERO, -0.05, 0.01, metric=m) for m in ("cross_entropy", "dirichlet_nll")]
    assert len(findings.tuning(task(comparisons=both))) == 1


def against(row, value, p=0.01, spread=0.01):
    return comparison("constant", key(row), CONSTANT, value, p, a_value=0.69 + value, spread=spread)


def test_models_are_sorted_by_their_differences_to_the_constant_answer():
    """Whatever the intervals of their own numbers; and a p of 0.06 carries no claim."""
    way = estimate(0.5)
    entries = [entry("Bad", ce=0.75), entry("Even"), entry("Unproven"), entry("Good", way_to_true_shares=0.5)]
    tests = [against("Bad", 0.06), against("Even", 0.005, 1.0), against("Unproven", -0.05, 0.06), against("Good", -0.1)]
    assert findings.against_constant(task(entries, tests)) == [
        "Worse in cross-entropy than one constant answer (0.690): Bad.",
        "Not told apart in cross-entropy from one constant answer (0.690): Even and Unproven.",
        f"Better in cross-entropy than any constant answer (0.690): Good ({way['value']:.0%} of the way to the true "
        "shares).".replace("50%", "50 %"),
    ]
    assert findings.against_constant(task(entries)) == []


@pytest.mark.parametrize(
    ("value", "p", "words"),
    [(0.1, 0.01, "is above that"), (0.005, 0.9, "is not told apart"), (-0.1, 0.01, "is below that"),
     (0.1, 0.06, "is not told apart")],
)  # fmt: skip
def test_people_beside_the_lowest_model(value, p, words):
    """The lowest is the same entry in every sentence, also where another training of it happens to be lower."""
    c = comparison("people", ROBERTA, PANEL, value, p, a_value=0.65)
    other = comparison("people", MISTRAL, PANEL, 0.2, 0.01, a_value=0.64)
    entries = [entry("RoBERTa", "CE-tuned", ce=0.65, worth_in_votes=1.25), entry("RoBERTa", "Dirichlet-tuned", ce=0.6)]
    t = task(entries, [other, c], votes_curve=[0.69, 0.64, 0.61, 0.59])
    first, second = findings.people(t)
    assert f"RoBERTa (CE-tuned), the lowest here, {words}" in first
    assert f"come to a cross-entropy of {0.65 - value:.3f}" in first
    assert second == (
        "A prediction from 1, 2, ... votes of other people comes to 0.640, 0.610, 0.590: RoBERTa (CE-tuned) is worth "
        "1.2 votes (1.2 to 1.3)."
    )


def test_what_is_not_told_apart_comes_with_how_far_it_may_be_and_without_p():
    c = comparison("models", ROBERTA, MISTRAL, -0.012, 0.4, spread=0.014, a_value=0.65)
    assert findings.models(task(comparisons=[c])) == [
        "Lowest cross-entropy: RoBERTa (CE-tuned) with 0.650, not told apart from Mistral (CE-tuned) (0.662; at most "
        "0.026 lower or 0.002 higher)."
    ]


def test_a_few_seeds_stand_for_themselves():
    few = entry("A", "CE-tuned")
    few["metrics"]["option_mass"] |= {"seeds": [0.05, 0.1, 0.15]}
    assert tables.cell(few, "option_mass") == "0.100 (seeds: 0.050, 0.100, 0.150)"


def test_legacy_numbers_are_told_beside_the_right_ones():
    before = entry("M", "zero-shot", legacy_dirichlet=6.0, dirichlet_nll=3.06, option_mass=0.01)
    after = entry("M", "Dirichlet-tuned", legacy_dirichlet=3.2, dirichlet_nll=2.97, option_mass=0.8)
    [said] = findings.legacy(task([before, after]))
    assert "moves by -2.800 with tuning, the renormalised one by -0.090" in said
    assert "from 1.0% to 80.0%" in said


def test_caveats_name_what_is_missing():
    lonely = comparison("tuning", MISTRAL, ZERO, -0.05, 0.01, one_seed=[MISTRAL])
    said = findings.caveats(
        task([entry("Gone", "CE-tuned", seeds=()), entry("Some", "CE-tuned", seeds=(1,))], [lonely])
    )
    assert said == [
        "One seed, so the spread over seeds is in no interval: Mistral (CE-tuned).",
        "Missing, and nothing is said of: Gone (CE-tuned).",
        "Not all seeds are there: Some (CE-tuned) (1 of 3).",
    ]
    said = findings.caveats(task(same=[(key("Most words"), key("Fewest words"))], keys_known=False))
    assert said == [
        "Most words gives the same numbers as Fewest words, which alone is compared.",
        "These records do not say which questions share an action, so all count as independent.",
    ]


def test_tables_tell_missing_from_not_planned():
    t = task(
        [
            entry("A", "zero-shot", planned=1, seeds=(0,)),
            entry("A", "CE-tuned", seeds=()),
            entry("B", "CE-tuned", seeds=(0,)),
        ]
    )
    overview = tables.overview(t)
    assert overview.header == [
        "", "cross-entropy, zero-shot", "cross-entropy, CE-tuned", "Dirichlet NLL, zero-shot", "Dirichlet NLL, CE-tuned"
    ]  # fmt: skip
    assert overview.rows[0][:3] == ["A", "0.650 [0.640, 0.660]", tables.MISSING]
    assert overview.rows[1][:3] == ["B", tables.NOT_PLANNED, "0.650 [0.640, 0.660] (1 of 3 seeds)"]
    names = [row[0] for row in tables.full(t).rows]
    assert names[:3] == ["A (zero-shot)", "A (CE-tuned)", "B (CE-tuned)"]
    assert names[3:] == ["best constant (knows these votes)", "true shares, if they were known (BEST of Scruples)"]
    assert tables.overview(task([entry("Fewest words")])) is None


@pytest.fixture
def whole():
    curve = [entry("Mistral", "CE-tuned", share, ce) for share, ce in ((0.1, 0.68), (0.5, 0.66))]
    entries = [
        entry("Mistral", "zero-shot", ce=0.7),
        entry("Mistral", "CE-tuned"),
        *curve,
        entry(SCRIPT, "CE-tuned", seeds=()),
    ]
    groups = [
        {"kind": "vote split", "name": n, "rows": 30, "BEST": 0.3,
         "entries": [key(e["row"], e["training"], e["share"]) | {"cross_entropy": estimate(0.6)} for e in entries[:4]]}
        for n in ("5-0", "4-1")
    ]  # fmt: skip
    cells = [{"name": "a", "state": "done", "tail": []}, {"name": "b", "state": "failed", "tail": ["x", SCRIPT]}]
    t = task(entries, [comparison("tuning", MISTRAL, ZERO, -0.05, 0.01)], groups=groups)
    return {
        "title": f"Study {SCRIPT}",
        "resamples": 1000,
        "cells": cells,
        "tasks": [t, task(name="anecdotes", yardsticks={})],
    }


def test_the_page_stands_alone_and_says_what_the_markdown_says(whole, tmp_path):
    written = page.write(tmp_path, whole)
    html, markdown = written.html.read_text(), (tmp_path / "study.md").read_text()
    elements = Elements()
    elements.feed(html)
    assert "script" not in elements.tags
    assert elements.links == []
    assert elements.tags.count("svg") == 6  # two forests, splits, two curves, one reliability
    for text in (html, markdown):
        assert "1 of 2 cells are done." in text
        assert "fine-tuning lowered the cross-entropy" in text
        assert "missing" in text
        assert "anecdotes" in text
    assert "| 500 " in markdown
    assert json.loads((tmp_path / "study.json").read_text()) == whole
    assert page.write(tmp_path, whole).html.read_text() == html
    assert "#0606" not in html  # every stand-in colour became a variable of the page
