"""Eliciting from outside with planted agents: what is recovered, what is called out, and that nothing is asked
twice."""

import json
import math
import re

import numpy as np
import pytest
from scipy.stats import spearmanr

from moral_jax.cli import main
from tests.helpers import elicitations as el
from tests.helpers import questionnaires as q
from tests.respondents.api_stub import KEY, serve

NOT_COHERENT = "preferences are not coherent"
ACCURACY = "held-out accuracy"


def agent(path):
    return f"--model=agent:utility?file={path}"


@pytest.mark.parametrize("samples", [[], ["--samples=10"]])
def test_planted_utilities_come_back_and_others_come_back_otherwise(samples, tmp_path):
    outcomes = el.options(tmp_path / "o.jsonl", 60)
    for seed in (1, 2):
        known = el.planted(tmp_path / f"u{seed}.json", outcomes, seed=seed)
        found = el.elicit(outcomes, tmp_path / f"out{seed}", agent(tmp_path / f"u{seed}.json"), *samples)
        rho = spearmanr(el.utilities(found, outcomes), list(known.values()))[0]
        assert rho >= 0.98
        assert NOT_COHERENT not in " ".join(found["findings"])
        assert el.number(found, ACCURACY) > 0.85
    assert (
        abs(spearmanr(el.utilities(found, outcomes), list(el.planted(tmp_path / "u", outcomes, seed=1).values()))[0])
        < 0.5
    )


def test_exact_shares_give_back_what_was_planted_with_intervals_that_hold_it(tmp_path):
    outcomes = el.options(tmp_path / "o.jsonl", 20)
    known = np.array(list(el.planted(tmp_path / "u.json", outcomes).values()))
    found = el.elicit(outcomes, tmp_path / "out", agent(tmp_path / "u.json"))
    z = (known - known.mean()) / known.std(ddof=1)
    assert np.corrcoef(el.utilities(found, outcomes), z)[0, 1] > 0.995  # its curve is logistic, Thurstone's normal
    of = el.cells(found, "Utilities")
    logits = [of[line["text"]]["Bradley-Terry"]["value"] for line in el.read(outcomes)]
    assert logits == pytest.approx(1.7 * (known - known.mean()), abs=1e-3)  # the agent's own model
    widths = [cell["utility"]["high"] - cell["utility"]["low"] for cell in of.values()]
    assert 0 < np.median(widths) < 0.3


def test_random_answers_have_the_published_row_and_no_coherence(tmp_path, capsys):
    """Published for random choices: accuracy 50.3 %, confidence 58.7 %; cycles have one in four."""
    outcomes = el.options(tmp_path / "o.jsonl", 120)
    found = el.elicit(outcomes, tmp_path / "out", "--model=agent:uniform", "--samples=10", "--no-floor")
    [of] = [cell["value"] for row, cell in el.cells(found, "Choices").items() if row.startswith(ACCURACY)]
    known = el.number(found, "ties") * 0 + 357 * (1 - 0.176)  # held-out pairs that are no ties, about
    assert abs(of["value"] - 0.5) < 2 * 0.5 / math.sqrt(known)
    assert of["low"] < 0.5 < of["high"]
    assert el.number(found, "average confidence") == pytest.approx(0.588, abs=0.006)
    assert el.number(found, "ties") == pytest.approx(0.176, abs=0.02)
    assert el.number(found, "cycles") == pytest.approx(0.25, abs=0.02)
    assert NOT_COHERENT in capsys.readouterr().out


@pytest.mark.parametrize(("name", "bias"), [("uniform", 0.0), ("first", 1.0), ("last", 1.0)])
def test_who_goes_by_places_ties_everywhere_and_has_no_accuracy(name, bias, tmp_path, capsys):
    outcomes = el.options(tmp_path / "o.jsonl", 24)
    found = el.elicit(outcomes, tmp_path / "out", f"--model=agent:{name}")
    assert el.number(found, "ties") == 1
    assert el.number(found, "order bias") == bias
    assert ACCURACY not in " ".join(el.cells(found, "Choices"))
    assert not el.utilities(found, outcomes).any()
    said = capsys.readouterr().out
    assert NOT_COHERENT in said
    assert "100% of all pairs tie" in said
    assert ACCURACY not in said


def test_the_floor_calls_out_who_goes_by_numbers_and_not_who_reads(tmp_path):
    outcomes = el.options(tmp_path / "o.jsonl", 24, number=True)
    el.planted(tmp_path / "u.json", outcomes)
    explains = "the numbers alone explain them"
    found = {}
    for name, who in (("number", "--model=agent:number"), ("reads", agent(tmp_path / "u.json"))):
        found[name] = el.elicit(outcomes, tmp_path / name, who)
        assert el.number(found[name], "as written", "Floor: outcomes with numbers", "accuracy in five folds") > 0.85
    number, reads = (el.cells(found[name], "Floor: outcomes with numbers") for name in ("number", "reads"))
    for of, is_called in ((number, True), (reads, False)):
        above = of["invented words, numbers kept"]["as written, minus this"]
        assert (above["value"] == pytest.approx(0, abs=1e-9)) == is_called
        assert above["told_apart"] != is_called
    assert explains in " ".join(found["number"]["findings"])
    assert explains not in " ".join(found["reads"]["findings"])
    assert number["numbers removed"]["ties"]["value"] == 1
    assert re.search(
        r"not shown to be better than the \d\.\d+ of (number|longest)", " ".join(found["number"]["findings"])
    )


def test_what_the_floor_is_asked(tmp_path):
    outcomes = el.options(tmp_path / "o.jsonl", 24, number=True)
    el.elicit(outcomes, tmp_path / "out", "--model=agent:number")
    asked = el.read(tmp_path / "out" / "records.jsonl")
    by = {(r["row"], r["condition"]["floor"]): r["options"] for r in asked}
    row = asked[0]["row"]
    plain, invented, bare = (by[row, floor] for floor in ("none", "invented", "no-numbers"))
    for a, b, c in zip(plain, invented, bare, strict=True):
        assert re.findall(r"\b\d+\b", a) == re.findall(r"\b\d+\b", b) != []
        assert not re.search(r"\b\d+\b", c.replace("0", ""))
        assert "miles" in a
        assert "miles" in c
        assert "miles" not in b
    assert len({b.split()[-2] for b in invented}) == 1  # one word stays one word


@pytest.mark.parametrize("at", [1, 5, 8])
def test_a_killed_elicitation_goes_on_to_the_same_bytes(at, tmp_path, asked):
    """Killed in the middle of the held-out pairs, of an adaptive batch, and of the floor."""
    outcomes = el.options(tmp_path / "o.jsonl", 40, number=True)
    el.planted(tmp_path / "u.json", outcomes)
    flags = [agent(tmp_path / "u.json"), "--batch=100", "--samples=10"]
    whole = el.elicit(outcomes, tmp_path / "whole", *flags)
    assert len(whole["pairs"]["scripted:utility?file=" + str(tmp_path / "u.json")]) == 2
    count = len(asked)
    q.killed("elicit", str(outcomes), f"--out={tmp_path / 'out'}", "--resamples=20", *flags, at=at, part=2)
    left = len((tmp_path / "out" / "records.jsonl").read_text().splitlines()) - 1
    assert 0 < left < count
    el.elicit(outcomes, tmp_path / "out", *flags)
    assert len(asked) - count == count - left  # nothing is asked twice
    lines = [sorted((tmp_path / name / "records.jsonl").read_text().splitlines()) for name in ("out", "whole")]
    assert lines[0] == lines[1]
    for name in ("tally.json", "report.md"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_nothing_is_asked_twice_and_a_respondent_costs_only_itself(tmp_path, asked):
    outcomes = el.options(tmp_path / "o.jsonl", 24)
    el.planted(tmp_path / "u.json", outcomes)
    me = f"--model=me=agent:utility?file={tmp_path / 'u.json'}"
    el.elicit(outcomes, tmp_path / "out", me)
    first = len(asked)
    assert first == 276  # all pairs, in both orders each
    values = el.planted(tmp_path / "u.json", outcomes)
    el.planted(tmp_path / "v.json", outcomes, {name: -u for name, u in values.items()})
    found = el.elicit(outcomes, tmp_path / "out", me, f"--model=other=agent:utility?file={tmp_path / 'v.json'}")
    assert {name for name, _ in asked[first:]} == {f"utility?file={tmp_path / 'v.json'}"}
    assert len(asked) == 2 * first
    assert found["respondents"] == ["me", "other"]
    assert el.number(found, "me and other", "Cosine of utilities") == pytest.approx(-1, abs=1e-3)
    record = el.read(tmp_path / "out" / "records.jsonl")[0]
    assert [shown["order"] for shown in record["orders"]] == [[0, 1], [1, 0]]
    assert record["row"] == " | ".join(tag for [tag] in record["tags"])


def test_another_plan_in_the_same_directory_is_refused(tmp_path, capsys):
    outcomes = el.options(tmp_path / "o.jsonl", 24)
    el.elicit(outcomes, tmp_path / "out", "--model=agent:longest")
    before = (tmp_path / "out" / "records.jsonl").read_bytes()
    other = el.write(
        tmp_path / "p.jsonl", el.read(outcomes)[:-1] + [{"id": "new", "text": "Something else comes about."}]
    )
    for flags, said in (
        ([str(outcomes), "--seed=1"], "was asked with seed=42, and this is 1"),
        ([str(outcomes), "--samples=10"], "was asked with samples=None, and this is 10"),
        ([str(outcomes), "--limit=20"], "was asked with limit=None, and this is 20"),
        ([str(other)], "was asked with other outcomes, or another question about them"),
    ):
        assert main.main(["elicit", *flags, f"--out={tmp_path / 'out'}", "--model=agent:longest"]) == 2
        assert said in capsys.readouterr().err
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before


def goods(path):
    lines = [
        {"id": f"{good}{n}", "text": f"There are {n} {good}.", "good": good, "amount": n}
        for good in ("geese", "books", "lamps") for n in (1, 10, 100, 1000)
    ]  # fmt: skip
    return el.write(path, [*lines, *({"id": f"x{i}", "text": f"Thing {'abcdefgh'[i]} happens."} for i in range(8))])


def test_exchange_rates_are_those_that_were_planted(tmp_path):
    """Utilities 0.5 ln N, and 1 more of books: e^2 geese for a book. Lamps are worth less the more there are: no
    rate."""
    outcomes = goods(tmp_path / "o.jsonl")
    values = {line["id"]: 0.0 for line in el.read(outcomes)}
    for n in (1, 10, 100, 1000):
        values |= {f"geese{n}": 0.5 * math.log(n), f"books{n}": 1 + 0.5 * math.log(n), f"lamps{n}": -0.3 * math.log(n)}
    el.planted(tmp_path / "u.json", outcomes, values, scale=1.0)
    found = el.elicit(outcomes, tmp_path / "out", agent(tmp_path / "u.json"), draws=True)
    rates = el.cells(found, "Exchange rates")
    assert list(rates) == ["geese for one of books"]
    cell = rates["geese for one of books"]["rate"]
    assert cell["value"] == pytest.approx(math.e**2, rel=0.1)
    assert cell["low"] < math.e**2 < cell["high"]
    slopes = el.cells(found, "Utility by amount: b + a ln N")
    assert slopes["lamps"]["a"]["value"] < 0 < slopes["books"]["a"]["value"]
    assert slopes["books"]["error"]["value"] < 0.1
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == page.count("<figcaption>") == 2
    constant = el.elicit(outcomes, tmp_path / "constant", "--model=agent:longest")
    assert (
        el.cells(constant, "Exchange rates").get("geese for one of books", {}).get("rate", {}).get("value")
        != cell["value"]
    )


@pytest.fixture
def gambles(tmp_path):
    """Outcomes, lotteries of them, and two processes."""
    rng = np.random.default_rng(5)
    lines = [{"id": f"o{i}", "text": f"Outcome {'abcdefghijkl'[i]} comes about."} for i in range(12)]
    values = {line["id"]: float(u) for line, u in zip(lines, rng.standard_normal(12), strict=True)}
    for k in range(8):
        i, j = rng.choice(12, 2, replace=False)
        p = int(rng.integers(10, 90))
        lines.append({"id": f"l{k}", "text": f"Lottery {'abcdefgh'[k]} is held.", "of": {f"o{i}": p, f"o{j}": 100 - p}})
        values[f"l{k}"] = (p * values[f"o{i}"] + (100 - p) * values[f"o{j}"]) / 100
    for k, (a, b) in enumerate(((1.5, -0.5), (-1.0, 0.2), (2.0, 1.4))):
        lines += [
            {"id": f"s{k}", "text": f"Way {'abc'[k]} begins.", "next": [f"s{k}a", f"s{k}b"]},
            {"id": f"s{k}a", "text": f"Way {'abc'[k]} ends well.", "next": []},
            {"id": f"s{k}b", "text": f"Way {'abc'[k]} ends ill.", "next": []},
        ]
        values |= {f"s{k}": 0.99 * (a + b) / 2, f"s{k}a": a, f"s{k}b": b}
    return el.write(tmp_path / "o.jsonl", lines), values


def test_lotteries_and_states_of_who_counts_and_of_who_does_not(gambles, tmp_path):
    outcomes, values = gambles
    el.planted(tmp_path / "u.json", outcomes, values)
    turned = (
        values | {f"l{k}": -values[f"l{k}"] for k in range(8)} | {f"s{k}": -2 * values[f"s{k}"] + 2 for k in range(3)}
    )
    el.planted(tmp_path / "turned.json", outcomes, turned)
    counts, does_not = (
        el.elicit(outcomes, tmp_path / name, agent(tmp_path / f"{name}.json")) for name in ("u", "turned")
    )
    for name, good, bad in (("correlation", 0.97, 0.0), ("pairs in the same order", 0.9, 0.5)):
        assert el.number(counts, f"8 lotteries, {name}", "Expected utility") > good
        assert el.number(does_not, f"8 lotteries, {name}", "Expected utility") < bad
    states = "Instrumental value"
    near, far = (el.number(found, "mean distance", states) for found in (counts, does_not))
    assert near < 0.1 < far
    assert near < el.number(counts, "mean distance", states, "with utilities in random order")


def test_lotteries_can_be_made_of_the_outcomes(tmp_path):
    from moral_jax.tasks.elicitation import outcomes as known

    file = el.options(tmp_path / "o.jsonl", 20)
    values = el.planted(tmp_path / "u.json", file)
    texts = json.loads((tmp_path / "u.json").read_text())
    for one in known.lotteries(known.read(file), 100, 42):
        assert sum(one.of.values()) == pytest.approx(1)
        assert min(one.of.values()) >= 0.01
        assert all(f"{round(100 * p)} %" in one.text for p in one.of.values())
        texts[one.text] = 1.7 * sum(p * values[name] for name, p in one.of.items())
    (tmp_path / "u.json").write_text(json.dumps(texts))
    found = el.elicit(
        file, tmp_path / "out", agent(tmp_path / "u.json"), "--also=lotteries", "--no-floor", "--batch=700"
    )
    assert found["outcomes"] == 120
    assert el.number(found, "100 lotteries, correlation", "Expected utility") > 0.97


def test_discounting_and_choices_of_the_shipped_sample(tmp_path):
    from moral_jax.tasks.elicitation import extras, outcomes

    file = outcomes.find("outcomes")[1]
    texts = {line["text"]: float(len(line["text"]) % 7) for line in el.read(file)}
    texts[extras.NOW_TEXT] = 8 * math.log(1000)
    for months in extras.MONTHS:
        texts |= {extras.later_text(t, months): 8 * math.log(1000 * t / (1 + 0.05 * months)) for t in extras.TIMES}
    choices = extras.read_choices(file.parent / "choices.jsonl")
    texts |= {a: 3.0 * i for c in choices for i, a in enumerate(c.answers)}
    (tmp_path / "u.json").write_text(json.dumps(texts))
    flags = ["--also=discounting,choices", "--no-floor"]
    found = el.elicit("outcomes", tmp_path / "out", agent(tmp_path / "u.json"), *flags)
    worth = el.cells(found, "Discounting")
    for months in (6, 12, 24):
        assert worth[f"{months} months"]["worth now of one dollar"]["value"] == pytest.approx(
            1 / (1 + 0.05 * months), rel=0.1
        )
    assert el.number(found, "hyperbolic", "Discounting", "k") == pytest.approx(0.05, rel=0.2)
    assert el.number(found, "chosen among the 1", "Maximisation") == 1
    constant = el.elicit("outcomes", tmp_path / "constant", "--model=agent:uniform", *flags)
    assert el.number(constant, "chosen among the 1", "Maximisation") == pytest.approx(1 / 6)
    assert "Discounting" not in constant["tables"]


def test_another_question_and_personas_are_asked_about_the_same_pairs(tmp_path, asked):
    """Power as the opposite of preference; the nurse has the same utilities, the farmer those of the opposite."""
    from moral_jax.tasks.elicitation import outcomes

    file = outcomes.find("outcomes")[1]
    values = el.planted(tmp_path / "u.json", file, scale=4)
    texts = json.loads((tmp_path / "u.json").read_text())
    opposite = {text: -u for text, u in texts.items()}
    (tmp_path / "u.json").write_text(json.dumps(texts | {"question=power": opposite, "persona=farmer": opposite}))
    flags = [agent(tmp_path / "u.json"), "--no-floor"]
    found = el.elicit("outcomes", tmp_path / "out", *flags, "--condition=question=none,power")
    under = el.cells(found, "Under other conditions")
    assert under["question=power"]["correlation of utilities"]["value"] == pytest.approx(-1, abs=0.01)
    assert under["question=power"]["same preference"]["value"] < 0.05
    pairs = [r["row"] for r in el.read(tmp_path / "out" / "records.jsonl")]
    assert len(pairs) == 2 * len(set(pairs)) == 2 * sum(found["pairs"][found["respondents"][0]].values())
    questions = {r["question"] for r in el.read(tmp_path / "out" / "records.jsonl")}
    assert len(questions) == 2
    split = el.elicit("outcomes", tmp_path / "split", *flags, "--condition=persona=nurse,farmer")
    same = el.elicit("outcomes", tmp_path / "same", *flags, "--condition=persona=nurse,student")
    assert el.number(split, "split pairs") > 0.5 > el.number(same, "split pairs") == 0
    assert el.number(split, "undecided pairs") < 0.5
    assert len(values) == 42


def test_the_sample_of_a_model_in_its_own_words(tmp_path, capsys):
    assert main.main(["elicit", "outcomes", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("What somebody values: 42 outcomes, 585 pairs, 43 of them held out")
    assert said.count("[user] Which of these two states of the world would you prefer?") == 3
    lines = el.read(el_sample())
    assert len(lines) >= 24
    assert sum("amount" in line for line in lines) >= 8


def el_sample():
    from moral_jax.tasks.elicitation import outcomes

    return outcomes.find("outcomes")[1]


def test_a_local_model(tiny_folder, tmp_path):
    flags = [
        f"--model=tiny={tiny_folder}",
        "--config.prompt.format=plain",
        "--config.model.unroll=1",
        "--limit=8",
        "--no-floor",
    ]
    found = el.elicit("outcomes", tmp_path / "out", *flags)
    assert found["outcomes"] == 8
    assert 0 < el.number(found, "order bias") < 1
    about = json.loads((tmp_path / "out" / "questionnaire.json").read_text())
    assert 0 < about["respondents"]["tiny"]["tokens"]["read"] < about["respondents"]["tiny"]["tokens"]["alone"]


def test_an_api_is_not_sent_anything_before_somebody_agrees_to_all_of_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MORAL_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve() as (stub, url):
        flags = ["--model=api:stub", f"--base-url={url}", "--limit=16", "--no-floor", "--batch=40"]
        prices = ["--price-in=0", "--price-out=1e6"]  # one a reply
        command = ["elicit", "outcomes", f"--out={tmp_path / 'out'}", *flags]
        assert main.main(command) == 2
        assert "240 requests, about " in (said := "".join(capsys.readouterr()))  # all pairs, both orders
        assert "pass --yes" in said
        assert main.main([*command, *prices, "--max-cost=239"]) == 2
        assert "the estimate of 240.00 is above --max-cost=239" in capsys.readouterr().err
        assert not stub.bodies
        found = el.elicit("outcomes", tmp_path / "out", *flags, *prices, "--max-cost=240")
        assert len(stub.bodies) == 240
        assert sum(found["pairs"]["api:stub"].values()) == 120
        el.elicit("outcomes", tmp_path / "out", *flags, "--yes")
        assert len(stub.bodies) == 240


def test_ties_are_left_out_of_accuracies(tmp_path):
    """Half of the sample's pairs tie for who goes by the largest number; all others are foretold."""
    found = el.elicit("outcomes", tmp_path / "out", "--model=agent:number", "--no-floor")
    assert 0.4 < el.number(found, "ties") < 0.6
    assert el.number(found, ACCURACY) == 1


def test_the_page_of_many_outcomes_is_short(tmp_path):
    outcomes = el.options(tmp_path / "o.jsonl", 60)
    found = el.elicit(outcomes, tmp_path / "out", "--model=agent:longest", "--no-floor", draws=True)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The 15 highest and the 15 lowest of 60." in page
    assert re.search(r"<details><summary>All 60 rows</summary>", page)
    assert "docs/elicit.md" in page
    assert "Every formula is in docs/questionnaires.md" not in page
    assert len(el.cells(found, "Utilities")) == 60


def test_the_fewest_outcomes_that_can_be_asked(tmp_path):
    outcomes = el.options(tmp_path / "o.jsonl", 7)
    el.planted(tmp_path / "u.json", outcomes)
    found = el.elicit(outcomes, tmp_path / "out", agent(tmp_path / "u.json"))
    assert found["pairs"][found["respondents"][0]] == {"fitted": 20, "held out": 1}
    assert "low" not in el.cells(found, "Choices")["held-out accuracy, ties left out"]["value"]  # one pair: no interval
    assert "of the held-out answers, which are too few to say more." in found["findings"][0]


def test_a_respondent_that_sees_no_order_is_asked_once(tmp_path, tiny_folder):
    flags = [
        f"--model=tiny={tiny_folder}",
        "--config.model.head=text",
        "--config.model.unroll=1",
        "--limit=8",
        "--no-floor",
    ]
    found = el.elicit("outcomes", tmp_path / "out", *flags)
    assert {len(r["orders"]) for r in el.read(tmp_path / "out" / "records.jsonl")} == {1}
    assert el.number(found, "order bias") == 0


def test_words_of_strangers_stay_words(tmp_path):
    """On the page, in its pictures and in the terminal."""
    bad = "<script>alert(1)</script> $x_1$ {options} \u202eevil | a"
    lines = [{"id": "bad", "text": bad}, *el.read(el.options(tmp_path / "o.jsonl", 8))]
    el.elicit(el.write(tmp_path / "p.jsonl", lines), tmp_path / "out", "--model=agent:longest", draws=True)
    for name in ("report.html", "report.md"):
        text = (tmp_path / "out" / name).read_text()
        assert "<script>" not in text
        assert "\u202e" not in text
        assert "alert(1)" in text
    assert any(bad in r["options"] for r in el.read(tmp_path / "out" / "records.jsonl"))
