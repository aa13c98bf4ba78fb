"""Fairness from outside: no metric without its statement, golden gaps, and the conflict between them."""

import csv
import json
import re

import numpy as np
import pytest

from moral_jax.analysis import fairness as analysis
from moral_jax.cli import main
from moral_jax.tasks import statement
from tests.helpers.documents import edit, trained

GOLDEN = [(s, y, g, n) for g, cells in {"A": (40, 10, 20, 30), "B": (64, 16, 8, 12)}.items()
          for (s, y), n in zip(((0.2, 0), (0.2, 1), (0.6, 0), (0.6, 1)), cells, strict=True)]  # fmt: skip
EQUAL = [(s, y, g, n) for g in "AB" for s, y, group, n in GOLDEN if group == "A"]


def table(path, rows, weights=False):
    """Writes a table, a row for each person, or with weights."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["score", "label", "group", *(["weight"] if weights else [])])
        for s, y, g, n in rows:
            writer.writerows([[s, y, g, n]] if weights else [[s, y, g]] * n)
    return path


def stated(path, *metrics, head=""):
    """Writes a statement of some metrics, with the words of the shipped one."""
    shipped = (statement.SHIPPED / "risk.toml").read_text()
    parts = {m[1]: m[0] for m in re.finditer(r"\[metrics\.(\w+)\][^\[]*", shipped)}
    path.write_text(head + "".join(parts[name] for name in metrics))
    return path


def fairness(tmp_path, rows, *flags, said="risk", name="table", status=0):
    file = rows if isinstance(rows, str) else table(tmp_path / f"{name}.csv", rows)
    out = tmp_path / f"{name}-out"
    flags = (f"--statement={said}", f"--out={out}", "--resamples=200", *flags)
    assert main.main(["fairness", str(file), *flags]) == status
    return json.loads((out / "fairness.json").read_text()) if status == 0 else None


def values(numbers):
    return {name: e["value"] for name, e in numbers.items() if isinstance(e, dict)}


def test_golden(tmp_path, capsys):
    found = fairness(tmp_path, GOLDEN)
    of_a = {"base_rate": 0.4, "selection_rate": 0.5, "true_positive_rate": 0.75, "false_positive_rate": 1 / 3,
            "predictive_value": 0.6, "calibration_error": 0, "mean_score": 0.4, "jensen_shannon": 0}  # fmt: skip
    of_b = {"base_rate": 0.28, "selection_rate": 0.2, "true_positive_rate": 0.428571, "false_positive_rate": 0.111111,
            "predictive_value": 0.6, "calibration_error": 0, "mean_score": 0.28, "jensen_shannon": 0}  # fmt: skip
    assert values(found["groups"]["A"]) == pytest.approx(of_a, abs=1e-6)
    assert values(found["groups"]["B"]) == pytest.approx(of_b, abs=1e-6)
    [gap] = found["gaps"]
    gaps = {"predictive_value": 0, "calibration_error": 0, "true_positive_rate": 0.321429,
            "false_positive_rate": 0.222222, "selection_rate": 0.3}  # fmt: skip
    assert {k: v for k, v in values(gap).items() if k in gaps} == pytest.approx(gaps, abs=1e-6)
    assert all("low" in gap[name] for name in gaps)
    page = (tmp_path / "table-out" / "report.html").read_text()
    for text in (capsys.readouterr().out, page):
        assert "Conflict between A and B: their base rates differ (0.400 and 0.280" in text
        assert "true positive rate +0.321 [" in text
        assert "false positive rate +0.222 [" in text
        assert "the false positive rates would be 0.333 and 0.194" in text  # .4/.6 (.4/.6) .75, .28/.72 (.4/.6) .75


def test_the_shipped_example_is_the_golden_table(tmp_path):
    found = fairness(tmp_path, "risk")
    assert values(found["gaps"][0])["true_positive_rate"] == pytest.approx(0.321429, abs=1e-6)


def test_no_conflict_with_equal_base_rates(tmp_path, capsys):
    found = fairness(tmp_path, EQUAL)
    assert not found["conflicts"]
    assert "Conflict" not in (out := capsys.readouterr().out)
    assert "these rows show no conflict" in out


def test_swapped_names_turn_signs(tmp_path):
    found = fairness(tmp_path, GOLDEN)["gaps"][0]
    turned = fairness(tmp_path, [(s, y, "BA"["AB".index(g)], n) for s, y, g, n in GOLDEN], name="turned")["gaps"][0]
    assert (found["first"], turned["first"]) == ("A", "A")
    assert values(turned) == pytest.approx({k: -v for k, v in values(found).items()}, abs=1e-9)
    assert max(map(abs, values(found).values())) > 0.3


def test_a_score_of_the_threshold_is_a_selection(tmp_path):
    for threshold, selected in ((0.6, [0.5, 0.2]), (0.61, [0, 0])):
        said = stated(tmp_path / f"f{threshold}.toml", "selection_rate", head=f"threshold = {threshold}\n")
        groups = fairness(tmp_path, GOLDEN, said=said, name=f"t{threshold}")["groups"]
        assert [groups[name]["selection_rate"]["value"] for name in "AB"] == pytest.approx(selected)


@pytest.mark.parametrize("has_items", [False, True])
def test_a_calibration_error_is_told_from_what_chance_makes_of_it(has_items):
    """Scores that are true, labels drawn with them: of one person each, whatever its weight, or of weight people."""
    rng = np.random.default_rng(1)
    score, weight = rng.choice([0.2, 0.5, 0.9], 300), rng.choice([1.0, 12.0], 300)
    found = []
    for _ in range(200):
        people = weight.astype(int) if has_items else 1
        label = rng.binomial(people, score) / people
        group = np.repeat(["a", "b"], 150)
        rows = analysis.Rows(score, label, weight, group, np.arange(300), has_items)
        found.append(analysis.count(rows, ["calibration_error"], 0.5, 1)["groups"]["a"]["calibration_error"])
    values = np.array([one["value"] for one in found])
    assert found[0]["expected"] == pytest.approx(values.mean(), rel=0.1)
    assert 0.89 < np.mean([one["value"] < one["null"] for one in found]) < 0.99


def test_no_metric_without_its_statement(tmp_path, capsys):
    said = stated(tmp_path / "fairness.toml", "calibration_error")
    fairness(tmp_path, GOLDEN, "--metric=true_positive_rate", said=said, status=2)
    assert f"{said}: [metrics.true_positive_rate]: is not there; no metric without its statement" in (
        capsys.readouterr().err
    )
    found = fairness(tmp_path, GOLDEN, said=said)
    assert set(found["gaps"][0]) == {"first", "second", "base_rate", "calibration_error"}
    out = capsys.readouterr().out  # what must be open is named, but without a number that nobody has stated
    assert "true positive rate, false positive rate" in out
    assert "0.321" not in out
    assert main.main(["fairness", str(tmp_path / "table.csv"), "--metric=true_positive_rate"]) == 2
    assert "no metric without its statement; true_positive_rate needs one" in capsys.readouterr().err


FIELDS = ["discipline", *(f"{cluster}.{field}" for cluster, fields in statement.FIELDS.items() for field in fields)]


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_is_missing_is_named(tmp_path, capsys, field):
    said = stated(tmp_path / "fairness.toml", "selection_rate")
    text, name = said.read_text(), field.split(".")[-1]
    said.write_text(re.sub(rf'\b{name} = "[^"]*"', f'{name} = " "', text))
    fairness(tmp_path, GOLDEN, said=said, status=2)
    cluster = f": {field.split('.')[0]}" if "." in field else ""
    assert f"[metrics.selection_rate]{cluster}: {name}: found ' '" in capsys.readouterr().err


def test_closed_errors_open_what_scores_mean(tmp_path):
    """Equal error rates with other base rates: the predictive values must differ."""
    rows = [(s, y, g, n) for g, (pos, neg) in {"A": (400, 100), "B": (100, 400)}.items()
            for s, y, n in ((0.9, 1, pos * 3 // 4), (0.1, 1, pos // 4), (0.9, 0, neg // 4), (0.1, 0, neg * 3 // 4))
            ]  # fmt: skip
    [conflict] = fairness(tmp_path, rows)["conflicts"]
    assert set(conflict["closed"]) == {"true_positive_rate", "false_positive_rate"}
    assert set(conflict["open"]) == {"calibration_error", "predictive_value"}


def test_scores_that_are_always_right_conflict_with_nothing(tmp_path):
    rows = [(float(y), y, g, n) for g, (pos, neg) in {"A": (40, 10), "B": (10, 40)}.items() for y, n in
            ((1, pos), (0, neg))]  # fmt: skip
    assert not fairness(tmp_path, rows)["conflicts"]


def test_the_identity_behind_the_conflict():
    """FPR = p / (1 - p) (1 - V) / V T holds in every group of every table."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        count = 60
        rows = analysis.Rows(
            rng.random(count), rng.integers(0, 2, count).astype(float), rng.random(count) + 0.1,
            rng.choice(["a", "b"], count), np.arange(count), has_items=False,
        )  # fmt: skip
        names = list(analysis.METRICS)
        for group in analysis.count(rows, names, 0.5, 10)["groups"].values():
            v = values(group)
            p, predictive = v["base_rate"], v["predictive_value"]
            assert v["false_positive_rate"] == pytest.approx(
                p / (1 - p) * (1 - predictive) / predictive * v["true_positive_rate"]
            )


def test_weights_count_as_people_and_formats_agree(tmp_path):
    datasets = pytest.importorskip("datasets")
    whole = fairness(tmp_path, GOLDEN)
    said = stated(tmp_path / "f.toml", *analysis.METRICS, head='[columns]\nweight = "weight"\n')
    weighed = table(tmp_path / "weighed.csv", GOLDEN, weights=True)
    found = fairness(tmp_path, str(weighed), said=said, name="w")
    lines = [{"score": s, "label": y, "group": g, "weight": n} for s, y, g, n in GOLDEN]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    datasets.Dataset.from_list(lines).to_parquet(tmp_path / "t.parquet")
    for name in ("t.jsonl", "t.parquet"):
        again = fairness(tmp_path, str(tmp_path / name), said=said, name=name)
        assert again["groups"] == found["groups"]
    for group in "AB":
        assert values(found["groups"][group]) == pytest.approx(values(whole["groups"][group]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.5,1,A", "field 'score': found '1.5', expected a number from 0 to 1"),
        ("0.5,maybe,A", "field 'label': found 'maybe'"),
        ("0.5,nan,A", "field 'label': found 'nan'"),
        ("0.5,1,", "field 'group': found None"),
    ],
)
def test_bad_rows_are_named(tmp_path, capsys, row, message):
    file = tmp_path / "bad.csv"
    file.write_text(f"score,label,group\n0.1,0,A\n{row}\n")
    fairness(tmp_path, str(file), status=2)
    assert f"{file}:3" in (said := capsys.readouterr().err)
    assert message in said


def test_groups(tmp_path, capsys):
    fairness(tmp_path, [row for row in GOLDEN if row[2] == "A"], status=2)
    assert "has one group, A; expected two or more" in capsys.readouterr().err
    many = [(s, y, name, n) for name in "abcdefg" for s, y, g, n in GOLDEN if g == "A"]
    fairness(tmp_path, many, status=2)
    assert "has 7 groups; name the one to compare with: --reference=a" in capsys.readouterr().err
    found = fairness(tmp_path, many, "--reference=c")
    assert {gap["first"] + gap["second"] for gap in found["gaps"]} == {"ac", "bc", "cd", "ce", "cf", "cg"}


HEAD = '[records]\ngroup = "country"\noption = "yes"\n'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("documents"))


def test_a_runs_page_compares_groups_only_with_a_statement(run, tmp_path, capsys):
    assert main.main(["report", str(run)]) == 0
    assert "Fairness between groups" not in (run / "report.html").read_text()
    said = stated(tmp_path / "fairness.toml", "mean_score", "calibration_error", head=HEAD)
    assert main.main(["report", str(run), f"--statement={said}", "--resamples=100"]) == 0
    for suffix in ("html", "md"):
        text = (run / f"report.{suffix}").read_text()
        assert "Fairness between groups" in text
        assert "What is claimed" in text
    found = json.loads((run / "fairness.json").read_text())
    assert set(found["groups"]) == {"a", "b"}
    records = [json.loads(line) for line in (run / "trained" / "test.jsonl").read_text().splitlines()]
    own = [r for r in records if r["groups"]["country"] == "a"]
    yes = sum(r["counts"][0] for r in own) / sum(sum(r["counts"]) for r in own)
    assert found["groups"]["a"]["base_rate"]["value"] == pytest.approx(yes)
    mean = sum(r["probabilities"][0] * sum(r["counts"]) for r in own) / sum(sum(r["counts"]) for r in own)
    assert found["groups"]["a"]["mean_score"]["value"] == pytest.approx(mean)

    assert main.main(["card", str(run)]) == 0
    card = (run / "card.md").read_text()
    assert "## Gaps between groups" in card
    assert "nothing is claimed" not in card
    edit(run / "fairness.json", lambda f: f["records"].update({"trained/test.jsonl": "0"}))
    assert main.main(["card", str(run)]) == 2
    assert "is no longer what it compares" in capsys.readouterr().err
    (run / "fairness.json").unlink()


def test_records_need_a_group_and_an_option(run, tmp_path, capsys):
    said = stated(tmp_path / "fairness.toml", "mean_score")
    assert main.main(["fairness", str(run), f"--statement={said}", f"--out={tmp_path / 'out'}"]) == 2
    assert f"{said}: [records]: is not there" in capsys.readouterr().err
    said = stated(tmp_path / "fairness.toml", "mean_score", head=HEAD.replace("yes", "perhaps"))
    assert main.main(["fairness", str(run), f"--statement={said}", f"--out={tmp_path / 'out'}"]) == 2
    assert "no record has votes, a group of kind 'country' and the option 'perhaps'" in capsys.readouterr().err
    said = stated(tmp_path / "fairness.toml", "mean_score", head=HEAD)
    assert main.main(["fairness", str(run), f"--statement={said}", f"--out={tmp_path / 'out'}"]) == 0
