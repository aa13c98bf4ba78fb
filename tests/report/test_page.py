"""The page: numbers in words that follow from them, nothing loaded from elsewhere, data inert."""

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
    return {
        "split": "test",
        "rows": 12,
        "metrics": metrics,
        "groups": {
            "vote split": {
                "5-0": {"rows": 12, **{m: estimate(0.5) for m in ("cross_entropy", "entropy_floor", "accuracy")}}
            }
        },
        "second_order": second_order(),
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
    assert "| BEST (oracle of Scruples)" in text
    assert "Synthetic data" in text


def verdict(before, after, difference, constant=0.69):
    stages = [source.Stage("initial", numbers(before), []), source.Stage("trained", numbers(after), [])]
    for stage in stages:
        stage.numbers["yardsticks"]["best constant"] = stage.numbers["yardsticks"]["best constant"] | {
            "cross_entropy": constant
        }
    s = source.Source("x", stages, {"cross_entropy": difference}, [], {}, {})
    return " ".join(words.verdict(s))


def test_the_verdict_follows_from_the_numbers():
    better = verdict(0.70, 0.59, estimate(-0.11))
    assert better.startswith("Fine-tuning brought the model closer to people")
    assert "0.700 to 0.590 (difference -0.110, 95 % interval -0.120 to -0.100)" in better
    assert "50% of the way" in better  # (0.69 - 0.59) / (0.69 - 0.49)
    assert "gets 10.0% more than its due" in better
    unclear = verdict(0.70, 0.695, {"value": -0.005, "low": -0.02, "high": 0.01})
    assert unclear.startswith("Fine-tuning made no clear difference")
    assert "cannot be told apart from a constant" in unclear
    worse = verdict(0.70, 0.80, estimate(0.1))
    assert worse.startswith("Fine-tuning made it worse")
    assert "worse than a constant answer" in worse


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
