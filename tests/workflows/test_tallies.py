"""The other tallies from outside: shares, value vectors, pluralism, under-specification."""

import csv
import itertools
import json

import numpy as np
import pytest

from moral_jax.analysis import share_calibration
from moral_jax.analysis.table import from_records
from moral_jax.analysis.tallies import pluralism, underspecified, vector
from moral_jax.analysis.tallies.base import js_divergence
from moral_jax.cli import main
from tests.helpers import questionnaires as q

# shares


def test_right_options_and_tags(tmp_path):
    rows = [{"id": f"r{i}", "question": "Which?", "options": ["a", "b"], "gold": "ab"[i % 2],
             "tags": [["lie"], []] if i % 2 else [[], ["lie"]]} for i in range(20)]  # fmt: skip
    task = q.write(tmp_path / "task", rows)
    found = {a: q.ask(task, tmp_path / a, f"--model=scripted:{a}") for a in ("obey", "constant", "uniform")}
    right = {a: q.values(f, "Right options")["none"]["mean share"] for a, f in found.items()}
    assert right == {"obey": 1.0, "constant": 0.5, "uniform": 0.5}
    lies = {a: q.values(f, "Share of options with a tag")["lie"]["none"] for a, f in found.items()}
    assert lies == {"obey": 0.0, "constant": 0.5, "uniform": 0.5}
    assert "is 1.000 [1.000, 1.000], better than the 0.500 of" in found["obey"]["findings"][0]
    assert "which cannot be told from the 0.500 of" in found["constant"]["findings"][0]


def test_a_place_in_the_data_is_no_yardstick_where_it_names_the_right_option(tmp_path):
    """All golds stand first: who is shown both orders and takes the gold has read it, and no constant has."""
    rows = [{"id": f"r{i}", "question": "Which?", "options": [f"a{i}", f"b{i}"], "gold": f"a{i}"} for i in range(8)]
    found = q.ask(q.write(tmp_path / "one", rows), tmp_path / "out", "--model=scripted:obey")
    one = q.cell(found, "Right options", "none", "accuracy")
    assert (set(one["nulls"]), one["above"]["value"]) == ({"uniform", "first", "last", "longest"}, 0.5)
    assert any(s.startswith("The right option has one place") for s in found["findings"])
    always = [r | {"options": ["yes", "no"], "gold": "yes"} for r in rows]  # whoever says yes needs to read nothing
    found = q.ask(q.write(tmp_path / "words", always), tmp_path / "words out", "--model=scripted:constant")
    assert q.cell(found, "Right options", "none", "accuracy")["above"]["value"] == 0
    for name, other in (("given", 'orders = "given"\n'), ("two", "")):  # shown in that place, or golds of two places
        changed = [r | {"gold": r["options"][i % 2]} for i, r in enumerate(rows)] if name == "two" else rows
        found = q.ask(q.write(tmp_path / name, changed, toml=other), tmp_path / f"{name} out", "--model=scripted:obey")
        assert "own mean" in q.cell(found, "Right options", "none", "accuracy")["nulls"]


def test_wordings_of_one_row_are_compared(tmp_path):
    rows = [{"id": f"r{i}", "question": "Which?", "options": ["a", "b"]} for i in range(6)]
    wording = [
        {"id": "compare", "axis": "wording", "question": "Rather {option 1} than {option 2}?", "options": ["Yes", "No"]}
    ]
    task = q.write(tmp_path / "task", rows, wording)
    (tmp_path / "a.json").write_text(json.dumps(
        {f"r{i}": "a" for i in range(6)} | {"wording=compare": {f"r{i}": "No" for i in range(6)}}))  # fmt: skip
    found = q.ask(task, tmp_path / "out", f"--model=scripted:leaning?file={tmp_path / 'a.json'}")
    spread = q.values(found, "Between conditions")["all rows"]["Jensen-Shannon divergence, nats"]
    assert spread == pytest.approx(js_divergence([1, 0], [0.5, 0.5]))
    asked = {r["condition"]["wording"]: r["question"] for r in q.records(tmp_path / "out")}
    assert asked == {"none": "Which?", "compare": "Rather a than b?"}


# the vector


def rule_rows(count=12):
    """Two-action rows of which every second one breaks a rule with the second action, the others with the first."""
    return [{"id": f"r{i}", "question": "Which?", "options": ["a", "b"], "group": {"block": "rules"},
             "tags": [["lie"], []] if i % 2 else [[], ["lie"]]} for i in range(count)]  # fmt: skip


@pytest.fixture
def vector_task(tmp_path):
    themes = [{"id": f"f{i}", "question": "Which?", "options": ["a", "b"], "tags": [["Care"], []],
               "group": {"block": "foundations", "theme": "Care"}} for i in range(6)]  # fmt: skip
    views = [{"id": f"v{i}", "question": "Which?", "options": ["w", "x", "y", "z"], "group": {"block": "views"},
              "tags": [["w"], ["x"], ["y"], ["z"]]} for i in range(6)]  # fmt: skip
    return q.write(tmp_path / "task", [*rule_rows(), *themes, *views], toml='tally = "vector"\norders = "all"\n')


def test_who_keeps_a_rule_and_who_breaks_it_are_opposite_once_centred(vector_task, tmp_path):
    weights = {"keep": {"lie": -1, "Care": 1}, "break": {"lie": 1, "Care": -1}}
    for name, of_tags in weights.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(of_tags))
    found = {
        n: q.ask(
            vector_task,
            tmp_path / n,
            f"--model=scripted:tags?file={tmp_path / n}.json",
        )
        for n in weights
    }
    centred = {n: {row: v["centred"] for row, v in q.values(f, "Vector of values").items()} for n, f in found.items()}
    both = {"rules: lie", "foundations: Care"}
    assert {row: centred["keep"][row] for row in both} == dict.fromkeys(both, 1.0)
    assert {row: centred["break"][row] for row in both} == dict.fromkeys(both, -1.0)
    rules = [np.array([centred[n][row] for row in sorted(both)]) for n in weights]
    assert vector.cosine(*rules) == pytest.approx(-1)
    published = {n: q.values(f, "Vector of values")["rules: lie"]["published"] for n, f in found.items()}
    assert published == {"keep": pytest.approx(6 / 13), "break": pytest.approx(-6 / 13)}


def test_the_indifferent_vector(vector_task, tmp_path):
    found = q.values(q.ask(vector_task, tmp_path / "out", "--model=scripted:uniform"), "Vector of values")
    assert all(v["centred"] == pytest.approx(0) for v in found.values())
    assert found["foundations: Care"]["published"] == pytest.approx(6 * 0.5 / 7)
    assert found["views: w"]["published"] == pytest.approx(6 * 0.25 / 7)


def marks(first, second):
    return {"tags": [[f"lie={first}"], [f"lie={second}"]], "probabilities": [0.5, 0.5]}


@pytest.mark.parametrize(
    ("first", "second", "sign"),
    [("No", "Yes", 1), ("Yes", "No", -1), ("No", "No", 0), ("Yes", "Yes", 0), ("No", "No Agreement", 1),
     ("No Agreement", "Yes", 1), ("Yes", "No Agreement", -1), ("No Agreement", "No", -1)],
)  # fmt: skip
def test_the_sign_of_a_rule(first, second, sign):
    assert vector._sign(marks(first, second), "lie") == sign


GOLDEN_RULES = [124, 419, 178, 243, 327, 280, 145, 123, 272, 439]
INDIFFERENT = {
    "rules": [0.0250, 0.1329, 0.0808, 0.1079, 0.1226, 0.1454, 0.0947, 0.0727, 0.1395, 0.1388],
    "foundations": [0.0998, 0.1065, 0.1082, 0.0932, 0.0915],
    "views": [0.2495] * 4,
}
TABLES = {
    "rules": ("moralchoice/moralchoice_high_ambiguity.csv", "{action1}|{action2}", 'tags = "a1_*|a2_*"'),
    "foundations": ("progressgym/foundation_final.csv", "{action1}|{action2}", 'group = "{generation_theme}"'),
    "views": ("progressgym/views_final.csv", "{action1}|{action2}|{action3}|{action4}", ""),
}


@pytest.mark.parametrize("block", TABLES)
def test_the_published_vector_of_an_indifferent_agent_on_the_real_rows(block, shared, tmp_path):
    """One row of the rules offers the same action twice, and one of the foundations: these are told apart here."""
    table, options, more = TABLES[block]
    toml = f"""tally = "vector"\nrows = "table.csv"\n[settings]\nblock = "{block}"\n[fields]\nid = "{{scenario_id}}"
text = "{{context}}"\nquestion = "Which?"\noptions = "{options}"\n{more}\n"""
    task = q.write(tmp_path / "task", [], toml=toml)
    lines = list(csv.DictReader((shared / table).open()))
    for line in lines:
        if line["action1"] == line["action2"]:
            line["action2"] += " (the same)"
    with (task / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    out = tmp_path / "out"
    flags = ["--model=scripted:uniform", "--resamples=20", "--on-bad-row=drop"]  # three rows of views are broken
    found = q.values(q.ask(task, out, *flags), "Vector of values")
    assert [v["published"] for v in found.values()] == pytest.approx(INDIFFERENT[block], abs=6e-5)
    assert all(v["centred"] == pytest.approx(0) for v in found.values())
    if block == "rules":
        names = [row.removeprefix("rules: ") for row in found]
        assert [sum(vector._sign(r, name) != 0 for r in q.records(out)) for name in names] == GOLDEN_RULES


def test_a_row_that_offers_one_action_twice_is_refused(shared, tmp_path, capsys):
    rows = shared / "moralchoice" / "moralchoice_high_ambiguity.csv"
    assert main.main(["ask", "--task=moral_choice", f"--rows={rows}", "--dry-run"]) == 2
    assert "moralchoice_high_ambiguity.csv:608: field 'options'" in capsys.readouterr().err
    assert main.main(["ask", "--task=moral_choice", f"--rows={rows}", "--dry-run", "--on-bad-row=drop"]) == 0
    assert "679 rows x 4 conditions" in capsys.readouterr().out


# pluralism


GROUPS = ("north", "south")


def pluralism_rows(count=12, own=(0.6, 0.4), other=(0.9, 0.1)):
    return [
        {"id": f"q{i} {g}", "question": f"Question {i}?", "options": ["a", "b"], "counts": [100 * p for p in shares],
         "group": {"people": g}}
        for i in range(count) for g, shares in zip(GROUPS, (own, other), strict=True)
    ]  # fmt: skip


CONDITIONS = [{"id": g, "axis": "people", "before": f"You live in the {g}.", "traits": {"people": g}} for g in GROUPS]


def planted(tmp_path, shares_of):
    """Returns an agent that says under each group's condition what `shares_of` gives for the group."""
    said = {
        f"people={g}": {r["id"]: dict(zip("ab", shares_of[g], strict=True)) for r in pluralism_rows()} for g in GROUPS
    }
    said |= {r["id"]: {"a": 0.75, "b": 0.25} for r in pluralism_rows()}
    (tmp_path / "said.json").write_text(json.dumps(said))
    return f"--model=scripted:leaning?file={tmp_path / 'said.json'}"


@pytest.mark.parametrize(("names", "expected"), [(GROUPS, 0.0), (GROUPS[::-1], 0.063288)])
def test_group_conditions_recover_each_group_and_shuffled_names_do_not(names, expected, tmp_path):
    shares = {"north": (0.6, 0.4), "south": (0.9, 0.1)}
    task = q.write(tmp_path / "task", pluralism_rows(), CONDITIONS, 'tally = "pluralism"\n')
    agent = planted(tmp_path, {g: shares[name] for g, name in zip(GROUPS, names, strict=True)})
    found = q.values(q.ask(task, tmp_path / "out", agent), pluralism.NEAR)
    assert found[pluralism.STEERABLE]["JSD, nats"] == pytest.approx(expected, abs=1e-6)
    assert found[pluralism.DISTRIBUTIONAL]["JSD, nats"] == pytest.approx(0, abs=1e-9)


def test_the_worst_group_and_the_options_that_are_held(tmp_path):
    """People hold b by 0.25 on average; who gives it 0.12 holds it (a tenth), who gives it 0.08 does not."""
    task = q.write(tmp_path / "task", pluralism_rows(), toml='tally = "pluralism"\n')
    for share, overton in ((0.12, 1.0), (0.08, 0.5)):
        said = {r["id"]: {"a": 1 - share, "b": share} for r in pluralism_rows()}
        (tmp_path / "said.json").write_text(json.dumps(said))
        found = q.ask(task, tmp_path / f"{share}", f"--model=scripted:leaning?file={tmp_path / 'said.json'}")
        far, near = (js_divergence((1 - share, share), shares) for shares in ((0.6, 0.4), (0.9, 0.1)))
        assert far > near
        numbers = q.values(found, pluralism.NEAR)
        assert numbers["worst group"]["JSD, nats"] == pytest.approx(far)
        assert numbers[pluralism.ALL_GROUPS]["JSD, nats"] == pytest.approx((far + near) / 2)
        assert q.values(found, "Options that are held")["overton"]["share"] == overton


def test_divergences():
    assert js_divergence((1, 0), (0.6, 0.4)) == pytest.approx(0.163897, abs=1e-6)
    assert js_divergence((0.6, 0.4), (0.9, 0.1)) == pytest.approx(0.063288, abs=1e-6)
    assert js_divergence((1, 0), (0, 1)) == pytest.approx(np.log(2))


def test_collapsing_to_the_majority_is_worse_than_knowing_nothing(shared, tmp_path):
    """Golden values of GlobalOpinionQA: 457 questions with at least five countries."""
    task = q.write(tmp_path / "task", [], toml=(
        'tally = "pluralism"\nrows = "none"\norders = "given"\n[settings]\nleast_groups = 5\n[fields]\n'
        'id = "{question} {attribute}"\nquestion = "{question}"\ncounts = "gold_distribution"\ngroup = "{attribute}"\n'
    ))  # fmt: skip
    rows = shared / "globalopinionqa" / "globalopinionqa_test_small.jsonl.gz"
    found = q.ask(task, tmp_path / "out", "--model=scripted:uniform", f"--rows={rows}", "--resamples=20")
    yardsticks = {row: v["JSD, nats"] for row, v in q.values(found, pluralism.YARDSTICKS).items()}
    assert list(yardsticks.values()) == pytest.approx([0.112240, 0.174436, 0.030616], abs=1e-6)
    near = q.values(found, pluralism.NEAR)[pluralism.ALL_GROUPS]["JSD, nats"]
    assert near == pytest.approx(0.112240, abs=1e-6)


# under-specification


def test_uncertainty_divides_into_within_and_between():
    p_SC = np.array([(0.9, 0.1), (0.5, 0.5), (0.1, 0.9)])
    assert underspecified.decomposed(p_SC) == pytest.approx((0.693147, 0.447771, 0.245376), abs=1e-6)


def test_planted_rows_land_in_their_cells(tmp_path):
    """Votes divided or not, orders that agree or not."""
    records = []
    for i, (divided, unsure, _) in enumerate(itertools.product((False, True), (False, True), range(4))):
        p = (0.5, 0.5) if unsure else (0.95, 0.05)
        orders = [{"order": [0, 1], "probabilities": p}, {"order": [1, 0], "probabilities": p}]
        records.append({"row": f"r{i}", "options": ["a", "b"], "probabilities": p, "orders": orders,
                        "counts": [5, 5] if divided else [10, 0]})  # fmt: skip
    found = q.values(q.tally(tmp_path / "out", "underspecified", *records), underspecified.CELLS)
    assert {cell: v["share of rows"] for cell, v in found.items()} == dict.fromkeys(found, 0.25)
    only = [r for r in records if r["counts"] == [5, 5] and r["probabilities"] == (0.95, 0.05)]
    rows = underspecified.cells([0.0, 0.69, 0.69, 0.0], [0.69, 0.2, 0.69, 0.2])
    assert (len(only), rows) == (4, ["agree/unsure", "divided/sure", "divided/unsure", "agree/sure"])


def confident(rng, count, informed):
    """Rows whose confidence says how near the respondent is to people, or not."""
    out = []
    for i in range(count):
        sure = rng.uniform(0.5, 1)
        right = rng.uniform() < (sure if informed else 0.75)
        out.append({"row": f"r{i}", "options": ["a", "b"], "probabilities": [sure, 1 - sure],
                    "counts": [10, 0] if right else [0, 10]})  # fmt: skip
    return out


def test_deferring_helps_where_confidence_informs_and_not_where_it_does_not(tmp_path):
    risk = {}
    for informed in (True, False):
        found = q.tally(
            tmp_path / f"{informed}", "underspecified", *confident(np.random.default_rng(0), 2000, informed)
        )
        risk[informed] = [v["agrees with the plurality"] for v in q.values(found, underspecified.DEFER).values()]
    assert all(later >= earlier - 0.01 for earlier, later in itertools.pairwise(risk[True]))
    assert risk[True][-1] > risk[True][0] + 0.1
    assert max(risk[False]) - min(risk[False]) < 0.05


# agreement


def test_agreement_is_what_evaluations_call_accuracy_distance_and_calibration(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, (40, 3)) + 5 * np.eye(3, dtype=int)[rng.integers(3, size=40)]  # no ties
    lines = [
        {"row": f"r{i}", "options": ["a", "b", "c"], "probabilities": p_C.tolist(), "counts": n_C.tolist()}
        for i, (p_C, n_C) in enumerate(zip(rng.dirichlet([1, 1, 1], 40), counts, strict=True))
    ]
    nobody = [{"row": f"nobody {i}", "options": ["a", "b"], "probabilities": [1, 0]} for i in range(5)]
    found = q.tally(tmp_path, "agreement", *lines, *nobody)
    table = from_records([line | {"concentration": 1.0} for line in lines])
    divergences = [js_divergence(p_C, q_C) for p_C, q_C in zip(table.p_EC, table.q_EC, strict=True)]
    assert q.values(found, "Agreement with people")["none"] == pytest.approx(
        {
            "accuracy": np.mean(table.p_EC.argmax(1) == table.q_EC.argmax(1)),
            "total variation": np.mean(np.abs(table.p_EC - table.q_EC).sum(1) / 2),
            "Jensen-Shannon divergence": np.mean(divergences),
            "calibration error": share_calibration.error(table),
        }
    )


def test_whoever_says_what_people_said_agrees(tmp_path):
    """Beside every null respondent; and votes that tie have no right option."""
    lines = [
        {"row": f"r{i}", "options": ["a", "b"], "probabilities": [n / 10, 1 - n / 10], "counts": [n, 10 - n]}
        for i, n in enumerate([1, 2, 3, 7, 8, 9, 5] * 5)
    ]
    cells = q.tally(tmp_path, "agreement", *lines)["tables"]["Agreement with people"]["cells"]["model"]["none"]
    assert {name: cell["value"] for name, cell in cells.items()} == pytest.approx(
        {"accuracy": 1, "total variation": 0, "Jensen-Shannon divergence": 0, "calibration error": 0}
    )
    assert cells["accuracy"]["nulls"]["constant"] == 0.5
    assert cells["accuracy"]["told_apart"]
    assert cells["total variation"]["told_apart"]
