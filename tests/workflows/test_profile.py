"""DailyDilemmas from outside: the golden values of constant agents, and what cannot be told from them."""

import json

import pytest

from tests.helpers import questionnaires as q

GOLDEN = {  # of an agent that always answers "to do"
    ("WVS", "Secular-rational"): 15.51, ("WVS", "Traditional"): 9.23, ("WVS", "Self-expression"): 4.98,
    ("WVS", "Survival"): 0.14, ("MFT", "Fairness"): 22.50, ("MFT", "Authority"): 11.83, ("MFT", "Loyalty"): 10.07,
    ("MFT", "Purity"): 6.67, ("MFT", "Care"): -1.44, ("Virtue", "Truthfulness"): 46.29, ("Virtue", "Patience"): -72.25,
}  # fmt: skip
ONCE = {"Fairness": 22.06, "Authority": 11.75, "Loyalty": 10.25, "Purity": 2.16, "Care": -1.22}
CARE = {"Care": 41.33, "Loyalty": -8.72, "Fairness": -6.76, "Authority": -3.59, "Purity": -0.67}
NONE = "none"


@pytest.fixture(scope="module")
def real(shared):
    folder = shared / "daily_dilemmas"
    rows = folder / "dilemma_to_action_to_values_aggregated.csv.gz"
    return [f"--rows={rows}", f"--map={folder / 'values.csv'}", "--resamples=50"]


@pytest.fixture(scope="module")
def constant(real, tmp_path_factory):
    return q.ask("daily_dilemmas", tmp_path_factory.mktemp("constant"), "--model=scripted:constant", *real)


def test_always_to_do_has_the_golden_profile(constant):
    found = {key: q.values(constant, key[0])[key[1]][NONE] for key in GOLDEN}
    assert found == pytest.approx(GOLDEN, abs=0.006)
    assert [len(constant["tables"][t]["rows"]) for t in ("WVS", "MFT", "Virtue", "Emotion", "Maslow")] == [
        4,
        5,
        9,
        14,
        5,
    ]


def test_nothing_of_a_constant_agent_can_be_told_from_the_null_agents(constant):
    cells = [c for table in constant["tables"].values() for of in table["cells"].values() for row in of.values()
             for c in row.values() if "above" in c]  # fmt: skip
    assert len(cells) > 35
    assert all(c["above"]["value"] == pytest.approx(0, abs=1e-9) for c in cells)


def test_each_value_once_per_action(real, tmp_path):
    from moral_jax.tasks.questionnaire.folder import SHIPPED

    own = tmp_path / "once"
    own.mkdir()
    text = (SHIPPED / "daily_dilemmas" / "task.toml").read_text()
    assert text.count("once = false") == 1
    (own / "task.toml").write_text(text.replace("once = false", "once = true"))
    (own / "conditions.jsonl").write_text('{"id": "other", "axis": "steering", "before": "Think."}\n')
    found = q.values(q.ask(own, tmp_path / "out", "--model=scripted:constant", *real), "MFT")
    assert {name: found[name][NONE] for name in ONCE} == pytest.approx(ONCE, abs=0.006)


def test_an_agent_of_care_and_the_same_with_the_actions_swapped(real, shared, tmp_path):
    """Swapping the two actions of every row turns all signs of a constant agent and none of one that reads tags."""
    import csv

    with (shared / "daily_dilemmas" / "values.csv").open() as file:
        care = {row["value"]: 1 for row in csv.DictReader(file) if row["MFT"] == "Care"}
    (tmp_path / "care.json").write_text(json.dumps(care))
    agent = f"--model=care=scripted:tags?file={tmp_path / 'care.json'}"
    asked = q.ask("daily_dilemmas", tmp_path / "out", agent, *real)
    found = {name: value[NONE] for name, value in q.values(asked, "MFT").items()}
    assert found == pytest.approx(CARE, abs=0.006)
    swapped = [r | {"options": r["options"][::-1], "tags": r["tags"][::-1], "probabilities": r["probabilities"][::-1],
                    "labels": {c: v[::-1] for c, v in r["labels"].items()}, "orders": []}
               for r in q.records(tmp_path / "out")]  # fmt: skip
    for r in swapped:
        del r["orders"]
    turned = q.tally(tmp_path / "swapped", "profile", *swapped)
    cells = turned["tables"]["MFT"]["cells"]["care"]
    assert {name: cells[name][NONE]["value"] for name in CARE} == pytest.approx(found)
    before = {n: c[NONE]["nulls"]["constant"] for n, c in asked["tables"]["MFT"]["cells"]["care"].items()}
    assert {n: cells[n][NONE]["nulls"]["constant"] for n in before} == pytest.approx({n: -v for n, v in before.items()})


TAGGED = [{"id": f"r{i}", "question": "Which?", "options": ["do it", "leave it"],
           "tags": [["care", "honesty"][: 1 + i % 2], ["freedom"] if i % 3 else []]} for i in range(30)]  # fmt: skip
MAP = "tag,theory\ncare,Care\nhonesty,Fairness\nfreedom,Liberty\n"
TOML = 'tally = "profile"\n[map]\nfile = "map.csv"\n'


def test_a_share_everywhere_scales_the_constant_profile(tmp_path):
    task = q.write(tmp_path / "task", TAGGED, toml=TOML, map_csv=MAP)
    whole = q.values(q.ask(task, tmp_path / "one", "--model=scripted:constant"), "theory")
    assert whole["Care"]["none"] == pytest.approx(100)
    for p in (0.5, 0.8):
        shares = {f"r{i}": {"do it": p, "leave it": 1 - p} for i in range(30)}
        (tmp_path / "p.json").write_text(json.dumps(shares))
        part = q.values(
            q.ask(task, tmp_path / f"{p}", f"--model=scripted:leaning?file={tmp_path / 'p.json'}"), "theory"
        )
        assert part == {n: {"none": pytest.approx((2 * p - 1) * v["none"])} for n, v in whole.items()}


def test_coverage_counts_tags_without_a_label(tmp_path):
    task = q.write(tmp_path / "task", TAGGED, toml=TOML, map_csv=MAP.replace("Liberty", ""))
    found = q.ask(task, tmp_path / "out", "--model=scripted:uniform")
    tags = [tag for row in TAGGED for of_option in row["tags"] for tag in of_option]
    expected = 1 - tags.count("freedom") / len(tags)
    assert q.values(found, "Tags that have a label") == {"theory": {"share": pytest.approx(expected)}}
    assert set(q.values(found, "theory")) == {"Care", "Fairness"}


def test_a_principle_counts_where_its_sides_stand_apart(tmp_path):
    principle = '[[settings.principles]]\nname = "care first"\nsupport = ["care"]\noppose = ["freedom"]\n'
    task = q.write(tmp_path / "task", TAGGED, toml=TOML + principle, map_csv=MAP)
    table = "Principles, 100 (support - oppose)"
    for agent, expected in (("constant", 100), ("uniform", 0)):
        found = q.values(q.ask(task, tmp_path / agent, f"--model=scripted:{agent}"), table)
        assert found == {"care first": {"none": pytest.approx(expected)}}
