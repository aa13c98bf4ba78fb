"""Ratings on a scale, from outside: planted propensities, agents that read nothing, and personas."""

import json

import numpy as np
import pytest

from moral_jax.analysis.tallies import likert
from tests.helpers import questionnaires as q

OPTIONS = ["1 (never)", "2", "3", "4 (perhaps)", "5", "6", "7 (surely)"]
DOMAINS = ("money", "health", "friends")
TOML = 'tally = "likert"\nscale = true\norders = "reversal"\n'


def rows():
    return [
        {"id": f"{domain}-{i}", "text": f"{domain} {i}", "question": "How likely?", "options": OPTIONS,
         "group": {"domain": domain}, "reverse": i == 5}
        for domain in DOMAINS for i in range(6)
    ]  # fmt: skip


FORMS = [
    {"id": form, "axis": "form", "question": f"What {form}?", "traits": {"form": form}}
    for form in ("likelihood", "benefit", "risk")
]
PERSONAS = [{"id": name, "axis": "persona", "messages": [{"role": "system", "content": f"You are {name}."}]}
            for name in ("ann", "bo", "cy", "di")]  # fmt: skip
NO_NONE = "[axes.form]\nnone = false\n"


def agent(tmp_path, values):
    (tmp_path / "scale.json").write_text(json.dumps(values))
    return f"--model=scripted:scale?file={tmp_path / 'scale.json'}"


def test_planted_propensities_are_recovered_under_all_forms(tmp_path):
    planted = {f"form={form}": {d: 2.0 + place + 0.3 * i for i, d in enumerate(DOMAINS)}
               for place, form in enumerate(("likelihood", "benefit", "risk"))}  # fmt: skip
    task = q.write(tmp_path / "task", rows(), FORMS, TOML + NO_NONE)
    found = q.values(q.ask(task, tmp_path / "out", agent(tmp_path, planted)), "Mean rating")
    for place, form in enumerate(("likelihood", "benefit", "risk")):
        for i, domain in enumerate(DOMAINS):
            assert found[domain][form] == pytest.approx(2.0 + place + 0.3 * i, abs=1e-9)


def test_an_attitude_is_the_fit_of_likelihood_by_benefit_and_risk(tmp_path):
    benefit, risk = [1, 2, 3, 4, 5, 6], [6, 3, 5, 2, 4, 1]
    names = [f"money-{i}" for i in range(6)]
    likelihood = [3 + 0.6 * b - 0.4 * r for b, r in zip(benefit, risk, strict=True)]
    planted = {f"form={form}": dict(zip(names, values, strict=True))
               for form, values in (("likelihood", likelihood), ("benefit", benefit), ("risk", risk))}  # fmt: skip
    planted["form=likelihood"]["money-6"] = 7  # an item that is turned, and so is left out
    planted["form=benefit"]["money-6"] = planted["form=risk"]["money-6"] = 1
    of_money = [row | {"reverse": False} for row in rows()[:6]]
    turned = of_money[0] | {"id": "money-6", "reverse": True}
    task = q.write(tmp_path / "task", [*of_money, turned], FORMS, TOML + NO_NONE)
    found = q.values(q.ask(task, tmp_path / "out", agent(tmp_path, planted)), "Attitude to risk")
    assert found["money"] == pytest.approx({"constant": 3, "to benefit": 0.6, "to risk": -0.4})


@pytest.mark.parametrize("name", ["first", "last", "uniform"])
def test_who_reads_nothing_is_called_insensitive(name, tmp_path):
    task = q.write(tmp_path / "task", rows(), toml=TOML)
    found = q.ask(task, tmp_path / "out", f"--model=scripted:{name}")
    assert any("insensitive" in sentence for sentence in found["findings"])
    moved = q.cell(found, "Does it read the items", "likelihood", "moved by the order of the scale")["value"]
    assert moved == pytest.approx(0 if name == "uniform" else 6)


def test_who_says_one_to_everything_is_insensitive_whatever_is_turned(tmp_path):
    found = q.ask(q.write(tmp_path / "task", rows(), toml=TOML), tmp_path / "out", "--model=scripted:constant")
    assert any("insensitive" in sentence for sentence in found["findings"])


def test_who_reads_the_items_is_not(tmp_path):
    task = q.write(tmp_path / "task", rows(), toml=TOML)
    found = q.ask(task, tmp_path / "out", agent(tmp_path, {"money": 2, "health": 4, "friends": 6}))
    assert not any("insensitive" in sentence for sentence in found["findings"])


def noisy(rng, shifted=()):
    """Ratings of every row under every persona, with noise; of one persona and domain a point higher."""
    out = {}
    for persona in ("none", "ann", "bo", "cy", "di"):
        out[f"persona={persona}"] = {
            row["id"]: 4 + rng.normal(0, 0.3) + 1.5 * ((persona, row["group"]["domain"]) in shifted) for row in rows()
        }
    return out


def shifts(records):
    from moral_jax.analysis.tallies.base import Answered

    units = {r["row"]: i for i, r in enumerate(r for r in records if r["condition"]["persona"] == "none")}
    return likert.shifts(Answered(records, units, lambda r: r["row"], {}))


def rated(records, ratings):
    """Returns records with other ratings: shares of two neighbouring points."""
    out = []
    for r in records:
        mean = ratings[f"persona={r['condition']['persona']}"][r["row"]]
        low, shares = int(mean), [0.0] * 7
        shares[low - 1], shares[low] = low + 1 - mean, mean - low
        out.append(r | {"probabilities": shares, "reverse": False})
    return out


def test_a_planted_shift_is_found_and_said(tmp_path):
    task = q.write(tmp_path / "task", rows(), PERSONAS, TOML)
    values = noisy(np.random.default_rng(1), {("bo", "health")})
    found = q.ask(task, tmp_path / "out", agent(tmp_path, values))
    [sentence] = [s for s in found["findings"] if "shifts by persona" in s]
    assert sentence.startswith(
        "Of 12 shifts by persona 1 can be told from chance after correction: persona=bo in health"
    )


@pytest.mark.parametrize(("shifted", "most"), [((), 5), ((("bo", "health"),), 10)])
def test_of_100_seeds_few_find_what_is_not_there(shifted, most, tmp_path):
    """Where no persona changes anything, and where one does in one domain, which nearly all find."""
    task = q.write(tmp_path / "task", rows(), PERSONAS, TOML)
    q.ask(task, tmp_path / "out", agent(tmp_path, {"all": 4}))
    records, wrong, right = q.records(tmp_path / "out"), 0, 0
    planted = {(f"persona={p}", d) for p, d in shifted}
    for seed in range(100):
        found = shifts(rated(records, noisy(np.random.default_rng([1, seed]), set(shifted))))
        named = {(s["persona"], s["domain"]) for s in found if s["corrected"] < 0.05}
        right += planted <= named
        wrong += bool(named - planted)
    assert (wrong <= most, right >= 95) == (True, True)


def test_equal_answers_are_no_shift(tmp_path):
    task = q.write(tmp_path / "task", rows(), PERSONAS, TOML)
    found = q.ask(task, tmp_path / "out", agent(tmp_path, {"all": 3.5}))
    assert any("Of 12 shifts by persona none" in s for s in found["findings"])


def record(p):
    return {"options": OPTIONS, "positions": [], "probabilities": p, "reverse": False, "condition": {}}


def test_ratings():
    p, low = [0.05, 0.1, 0.2, 0.3, 0.2, 0.1, 0.05], [0.3, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02]
    assert likert.rating(record(p)) == pytest.approx(4)
    assert likert.rating(record(low)) == pytest.approx(2.47)
    assert likert.rating(record(low) | {"reverse": True}) == pytest.approx(5.53)


def test_alpha():
    answers = np.array([[1, 2, 2], [3, 4, 3], [5, 5, 6], [6, 6, 7], [4, 3, 5]], float)
    assert likert.alpha(answers) == pytest.approx(0.962457, abs=1e-6)
    turned = answers.copy()
    turned[:, 2] = 8 - turned[:, 2]
    assert likert.alpha(turned) == pytest.approx(-4.333333, abs=1e-6)
    assert np.isnan(likert.alpha(np.ones((3, 3))))
