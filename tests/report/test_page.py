"""Tests the page: sentences follow from the numbers, nothing is loaded from elsewhere, data is inert."""

import html.parser
import json

import pytest

from moral_jax.report import page, source, words
from moral_jax.types import UserError

SCRIPT = "<script>alert('x')</script>"


def estimate(value, spread=0.01):
    return {"value": value, "low": value - spread, "high": value + spread}


def record(i, p):
    orders = [
        {"order": o, "probabilities": [p, 1 - p], "log_mass": -1.0, "log_concentration": 0.7} for o in ([0, 1], [1, 0])
    ]
    return {
        "id": f"row-{i}",
        "question": f"Which? {SCRIPT}",
        "title": "",
        "text": "",
        "options": [SCRIPT, "b & c"],
        "counts": [i % 6, 5 - i % 6],
        "groups": {"vote split": "5-0"},
        "probabilities": [p, 1 - p],
        "concentration": 2.0,
        "orders": orders,
        "kl": abs(p - (i % 6) / 5),
        "order_sensitivity": p / 10,
    }


def second_order(held=0.8, gain=0.05, **more):
    return {
        "rows": 12,
        "of": 12,
        "split_ceiling": 0.567,
        "coverage": {level: estimate(held) for level in ("0.5", "0.8", "0.95")},
        "split_correlation": estimate(0.2),
        "concentration_correlation": estimate(0.1),
        "fixed_concentration": 2.5,
        "dirichlet_gain": estimate(gain),
    } | more


def numbers(ce):
    yard = {"cross_entropy": 0.69, "dirichlet_nll": 3.0, "total_variation": 0.3, "accuracy": 0.5, "macro_f1": 0.34}
    metrics = {m: estimate(0.5) for m in (*words.MAIN, *words.MORE)} | {"cross_entropy": estimate(ce)}
    metrics["first_place_bias"] = estimate(0.1)
    metrics["way_to_true_shares"] = estimate((0.69 - ce) / 0.2, 0.05)
    metrics["share_calibration"] = {"value": 0.084, "expected": 0.04, "null": 0.07}
    metrics["worth_in_votes"] = estimate(1.2, 0.1)
    return {
        "split": "test",
        "rows": 12,
        "metrics": metrics,
        "groups": {
            "vote split": {
                "5-0": {"rows": 12, "BEST": 0.16, **{m: estimate(0.5) for m in ("cross_entropy", "accuracy")}}
            }
        },
        "second_order": second_order(),
        "shared": {"known": True, "rows_share": True, "cross_entropy_ratio": 1.5},
        "at_bound": [],
        "against": {"best constant": estimate(ce - 0.69)},
        "votes_curve": [0.69, 0.64, 0.61],
        "yardsticks": {"uniform": yard, "best constant": yard, "BEST": yard | {"cross_entropy": 0.49}},
        "reliability": [{"predicted": 0.3, "human": 0.35, "pairs": 12}, {"predicted": 0.7, "human": 0.65, "pairs": 12}],
    }


@pytest.fixture
def run(tmp_path):
    for stage, ce in (("initial", 0.70), ("trained", 0.59)):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "metrics.json").write_text(json.dumps(numbers(ce)))
        rows = [json.dumps(record(i, 0.1 + 0.06 * i)) for i in range(12)]
        (tmp_path / stage / "test.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "run.json").write_text(json.dumps({"stages": ["initial", "trained"]}))
    (tmp_path / "comparison.json").write_text(json.dumps({"cross_entropy": estimate(-0.11)}))
    (tmp_path / "config.json").write_text(json.dumps({"eval": {"bootstrap": 1000}}))
    (tmp_path / "provenance.json").write_text(json.dumps({"data": {"task": "synthetic", "description": "made up"}}))
    trace = [{"step": s, "kind": "train", "loss": 1 / s} for s in range(1, 30)] + [
        {"step": 29, "kind": "validation", "loss": 0.6}
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in trace))
    return tmp_path


class Elements(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v and not v.startswith("#")]


def test_the_page_stands_alone_and_data_is_inert(run):
    written = page.write(run)
    text = written.html.read_text()
    elements = Elements()
    elements.feed(text)
    assert "script" not in elements.tags
    assert elements.links == []
    assert "http://" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "&lt;script&gt;" in text
    assert elements.tags.count("svg") == 4
    assert "Synthetic data" in text


def test_the_same_files_give_the_same_page(run):
    first = page.write(run).html.read_text()
    assert page.write(run).html.read_text() == first


def test_markdown_says_the_same(run):
    page.write(run)
    text = (run / "report.md").read_text()
    assert "0.590 [0.580, 0.600]" in text
    assert "| true shares, if they were known (BEST of Scruples)" in text
    assert "0.084 (if p were the true shares: 0.040, 95 % below 0.070)" in text
    assert "Questions that share an action" in text
    assert "Synthetic data" in text


def verdict(before, after, difference, above=None, **changes):
    """`above`: how far the model's cross-entropy is above the best constant's, paired by row."""
    stages = [source.Stage(n, numbers(ce), []) for n, ce in (("initial", before), ("trained", after))]
    last = stages[-1].numbers
    last["against"]["best constant"] = above or estimate(after - 0.69)
    last["metrics"] |= changes
    return " ".join(words.verdict(source.Source("x", stages, {"cross_entropy": difference}, [], {}, {})))


def test_the_verdict_follows_from_the_numbers():
    better = verdict(0.70, 0.59, estimate(-0.11))
    assert better.startswith("Fine-tuning brought the model closer to people: on 12 held-out questions")
    assert "0.700 to 0.590 (difference -0.110, 95 % interval -0.120 to -0.100)" in better
    assert "50% of the way (45% to 55%) from the best constant answer (0.690) to the true shares" in better
    assert "worth 1.2 votes (1.1 to 1.3) of other people" in better
    assert "gets 10.0 percentage points more than its due" in better
    unclear = verdict(0.70, 0.695, {"value": -0.005, "low": -0.02, "high": 0.01})
    assert unclear.startswith("Fine-tuning made no clear difference")
    assert "cannot be told apart from a constant" in unclear
    worse = verdict(0.70, 0.80, estimate(0.1))
    assert worse.startswith("Fine-tuning made it worse")
    assert "worse than a constant answer" in worse


def test_a_constant_is_compared_row_by_row_and_not_by_two_intervals():
    """The interval of the cross-entropy reaches the constant's 0.690, that of the paired difference does not."""
    apart = verdict(0.70, 0.685, estimate(-0.015), above=estimate(-0.005, 0.002))
    assert "of the way" in apart
    level = verdict(0.70, 0.66, estimate(-0.04), above=estimate(-0.03, 0.04))
    assert "cannot be told apart from a constant" in level


def test_what_pages_print_as_nothing_is_nothing():
    """From 0.693 to 0.693, with an interval from -0.000 to -0.000."""
    said = verdict(0.6931, 0.6930, estimate(-0.0001, 0.00005), above=estimate(0.0002, 0.00005))
    assert said.startswith("Fine-tuning made no clear difference")
    assert "cannot be told apart from a constant" in said


@pytest.mark.fault("few test rows", promise="no verdict")
def test_nothing_is_concluded_from_a_few_questions():
    stages = [source.Stage(n, numbers(0.69), []) for n in ("initial", "trained")]
    for stage in stages:
        stage.numbers["rows"] = 1
        stage.numbers["metrics"] = {name: {"value": e["value"]} for name, e in stage.numbers["metrics"].items()}
        stage.numbers["against"]["best constant"] = {"value": 0.1}
    s = source.Source("x", stages, {"cross_entropy": {"value": -0.1}}, [], {}, {})
    [said] = words.verdict(s)
    assert said.startswith("On 1 held-out question, the model's cross-entropy to the votes is 0.690: too few")
    assert words.main_table(s).rows[0][1] == "0.690"


def test_options_that_the_model_would_not_say_are_warned_of():
    assert "Only 6e-07 of the probability" in verdict(0.7, 0.59, estimate(-0.11), option_mass=estimate(6e-7, 1e-8))
    assert "Only" not in verdict(0.7, 0.59, estimate(-0.11), option_mass=estimate(0.3))


def test_the_page_says_what_its_intervals_hold():
    def note(**changes):
        stage = source.Stage("trained", numbers(0.6) | changes, [])
        return words.intervals_note(source.Source("x", [stage], {}, [], {}, {}))

    assert "share an action or another key count together" in note()
    assert "one seed" in note()
    assert "bound" not in note()
    assert "ended at the bound of what is searched: temperature" in note(at_bound=["temperature"])
    assert "do not say which questions share" in note(shared={})  # of an older version
    assert "share" not in note(shared={"known": True, "rows_share": False})


def test_numbers_of_an_older_version_still_have_a_page(run):
    for stage in ("initial", "trained"):
        older = json.loads((run / stage / "metrics.json").read_text())
        for field in ("against", "shared", "at_bound", "votes_curve"):
            del older[field]
        del older["groups"]["vote split"]["5-0"]["BEST"]
        del older["second_order"]["split_ceiling"], older["second_order"]["of"]
        older["metrics"] |= {"ece": estimate(0.1), "entropy_floor": estimate(0.3)}
        (run / stage / "metrics.json").write_text(json.dumps(older))
    text = page.write(run).html.read_text()
    assert "do not say which questions share" in text
    assert "from the best constant answer" not in text


def test_division_follows_from_the_numbers():
    def said(**changes):
        numbers = second_order(**changes)
        return words.division(source.Stage("trained", {"second_order": numbers}, []))

    assert "about as wide as they should be: intervals that should hold 80 % of them hold 80%" in said()
    assert "too narrow" in said(held=0.6)
    assert "too wide" in said(held=0.9)
    assert "(2.5, fitted on the validation rows), its own concentrations gain 0.050 nats" in said()
    assert "it would be closer to the votes, by 0.050 nats" in said(gain=-0.05)
    assert "make no clear difference" in said(gain=0.005)
    constant = second_order()
    del constant["concentration_correlation"], constant["dirichlet_gain"]
    assert words.division(source.Stage("trained", {"second_order": constant}, [])).endswith("hold 80%.")
    assert "hold 80% (1 of 13 questions, whose votes are not whole, are left out)." in said(of=13)
    assert "(2,000, fitted" in said(fixed_concentration=2000.4)


def test_the_page_says_how_divided_people_are(run):
    page.write(run)
    for name in ("report.html", "report.md"):
        text = (run / name).read_text()
        assert "How divided people are" in text
        assert "0.200 [0.190, 0.210]" in text
    for stage in ("initial", "trained"):  # runs from before this was measured, and shares that are no votes
        older = json.loads((run / stage / "metrics.json").read_text()) | {"second_order": None}
        (run / stage / "metrics.json").write_text(json.dumps(older))
    page.write(run)
    assert "How divided" not in (run / "report.html").read_text()


def test_what_an_api_left_open_is_said():
    b = {"missing_mass": 0.05, "unseen": 3, "unbounded": 0, "cross_entropy": {"low": 0.6, "high": 0.7}}

    def said(bounds):
        return words.bounded(source.Stage("answers", {"rows": 12, "bounds": bounds}, []))

    assert "have 5.00% of the probability" in said(b)
    assert said(b).endswith("the cross-entropy is no less than 0.600 and no more than 0.700.")
    assert "no upper bound: 2 questions" in said(b | {"unbounded": 2})
    assert said(None) == ""


def test_surprises_are_the_largest_divergences(run):
    top = words.surprises(source.read(run).last, 3)
    assert [r["kl"] for r in top] == sorted((r["kl"] for r in top), reverse=True)
    every = words.surprises(source.read(run).last, 100)
    assert len(every) == 12
    assert top[0]["kl"] == max(r["kl"] for r in every)


def test_an_evaluation_has_a_page_too(run, tmp_path):
    out = tmp_path / "alone"
    out.mkdir()
    (out / "metrics.json").write_text((run / "trained" / "metrics.json").read_text())
    (out / "test.jsonl").write_text((run / "trained" / "test.jsonl").read_text())
    written = page.write(out)
    assert written.verdict.startswith("On 12 held-out questions")


def test_nothing_scored_is_an_error(tmp_path):
    with pytest.raises(UserError, match="holds no numbers yet"):
        page.write(tmp_path)


def test_numbers_of_any_size_have_three_digits():
    """Exchange rates: three decimals would make 0.000 of small ones."""
    rate = {"value": 0.00213, "low": 0.00205, "high": 1234.5, "scale": "log"}
    assert words.interval(rate) == "0.00213 [0.00205, 1,234]"
    assert words.interval(rate | {"scale": ""}) == "0.002 [0.002, 1234.500]"
    assert words.interval({"value": 57.25, "scale": "log"}) == "57.2"
