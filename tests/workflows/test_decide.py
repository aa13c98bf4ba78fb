"""Decisions from outside: golden values, the theorems that a command can show, models that say what holds, mistakes."""

import json

import numpy as np
import pytest

from moral_jax.cli import main
from tests.helpers.cases import GOLDEN, decide, p_of, toml


def test_golden(tmp_path, capsys):
    found = decide(tmp_path, toml(**GOLDEN), "--temperature=0.1")["the file"]
    assert found["weights"]["divided"] == pytest.approx({"e0": 0.665079, "e1": 0.334921}, abs=1e-6)
    assert found["scores"]["divided"] == pytest.approx({"a0": 0.330159, "a1": 0.067937, "a2": 0.2}, abs=1e-6)
    assert found["margin"] == pytest.approx(0.130159, abs=1e-6)
    assert found["pareto"] == ["a0", "a1", "a2"]
    assert found["probabilities"] == pytest.approx({"a0": 0.743638, "a1": 0.054019, "a2": 0.202343}, abs=1e-6)
    plain = decide(tmp_path / "plain", toml(**GOLDEN, choice="normalise = false"))["the file"]
    # M = (.8, .15), (.1, .9); .7 M_0 + .3 M_1
    assert plain["weights"]["as they are"] == pytest.approx({"e0": 0.605, "e1": 0.34})
    assert plain["scores"]["as they are"] == pytest.approx({"a0": 0.265, "a1": 0.083, "a2": 0.189})
    assert plain["margin"] == pytest.approx(0.265 - 0.189)
    assert (plain["choice"], plain["why"]) == ("a0", "the highest score")
    for text in (capsys.readouterr().out, (tmp_path / "plain" / "out" / "report.html").read_text()):
        assert "Chosen: a0 (Action 0.) Why: the highest score." in text
        assert "+0.330" in text  # both scores are printed
        assert "Pareto set: a0, a1, a2." in text


def test_the_trace_sums_to_the_scores(tmp_path):
    for flag in ("true", "false"):
        found = decide(tmp_path / flag, toml(**GOLDEN, choice=f"normalise = {flag}"))["the file"]
        sums = {a: sum(t["adds"][a] for t in found["trace"]) for a in ("a0", "a1", "a2")}
        assert sums == pytest.approx(found["scores"]["divided" if flag == "true" else "as they are"])
        first = found["trace"][0]
        assert (first["context"], first["prescript"], first["p"], first["weight"]) == ("c0", "e0", 0.8, 1)
        assert first["profile"] == pytest.approx(0.8)


def test_a_small_lead_and_a_tie_choose_nothing(tmp_path, capsys):
    found = decide(tmp_path, toml(**GOLDEN), "--margin=0.14")["the file"]
    assert found["choice"] is None
    assert "Nothing is chosen: the best is ahead of the second by 0.130, less than the margin of 0.14." in (
        capsys.readouterr().out
    )
    assert decide(tmp_path, toml(**GOLDEN), "--margin=0.13")["the file"]["choice"] == "a0"
    tie = GOLDEN | {"u": [[1, -1], [1, -1], [0.2, 0.2]]}
    assert decide(tmp_path / "tie", toml(**tie))["the file"]["why"] == "a0 and a1 tie"
    same = decide(tmp_path / "same", toml(**GOLDEN | {"u": [[1, -1], [1, -1]]}))["the file"]
    assert (same["choice"], same["off by"]) == (None, None)
    assert "it stays so whatever P is." in capsys.readouterr().out


def test_the_same_choice_whatever_the_order_of_tables(tmp_path):
    """Consistency, at temperature 0 and with a seed."""
    rng = np.random.default_rng(0)
    case = {"p": rng.random((4, 3)), "w": rng.random((4, 3)), "c": [0.2, 0.3, 0.5], "u": rng.uniform(-1, 1, (4, 4))}
    case = {name: np.asarray(values).tolist() for name, values in case.items()}
    for flags in ([], ["--temperature=0.3", "--seed=5"], ["--temperature=2", "--seed=11"]):
        one, other = (
            decide(tmp_path / f"{flip}", toml(**case, flip=flip), *flags)["the file"] for flip in (False, True)
        )
        assert one["choice"] == other["choice"] is not None
        assert one["scores"] == other["scores"]  # to the last digit
        assert set(one["pareto"]) == set(other["pareto"])


def test_swapping_two_actions_swaps_their_scores(tmp_path):
    """So no constant can pass."""
    u = GOLDEN["u"]
    one = decide(tmp_path / "one", toml(**GOLDEN))["the file"]
    other = decide(tmp_path / "other", toml(**GOLDEN | {"u": [u[1], u[0], u[2]]}))["the file"]
    assert (one["choice"], other["choice"]) == ("a0", "a1")
    for kind in ("divided", "as they are"):
        a, b = one["scores"][kind], other["scores"][kind]
        assert (a["a0"], a["a1"], a["a2"]) == (b["a1"], b["a0"], b["a2"])


def test_a_dominated_action_is_named(tmp_path, capsys):
    found = decide(tmp_path, toml(**GOLDEN | {"u": [[1, 0], [0.9, -0.1], [0.2, 0.2]]}))["the file"]
    assert found["pareto"] == ["a0", "a2"]
    assert "| a1 " in capsys.readouterr().out
    page = (tmp_path / "out" / "report.md").read_text()
    assert page.count("dominated |") == 1


def test_observations_reach_the_table_at_the_rate_of_one_over_root_n(tmp_path):
    """Convergence. Gate, seen red with counts that do not depend on the table."""
    rng = np.random.default_rng(0)
    p_IJ = rng.uniform(0.1, 0.9, (30, 4))
    case = {"w": np.ones((30, 4)).tolist(), "c": [0.25] * 4, "u": rng.uniform(-1, 1, (2, 30)).round(3).tolist()}
    sizes, errors = [25, 100, 400, 1600, 6400], []
    for n in sizes:
        counts = rng.binomial(n, p_IJ)
        observed = [[[int(k), n] for k in row] for row in counts]
        found = decide(tmp_path / str(n), toml(None, **case, observed=observed))["the file"]
        errors.append(np.sqrt(np.mean((p_of(found, 30, 4) - p_IJ) ** 2)))
    slope, _ = np.polyfit(np.log(sizes), np.log(errors), 1)
    assert slope == pytest.approx(-0.5, abs=0.06)
    assert errors[0] == pytest.approx(np.sqrt(np.mean(p_IJ * (1 - p_IJ)) / 25), rel=0.2)


def test_few_observations_are_less_sure(tmp_path, capsys):
    again = []
    for n in (10, 1000):
        observed = [[[int(n * p), n] for p in row] for row in GOLDEN["p"]]
        case = GOLDEN | {"p": None, "observed": observed, "u": [[1, -1], [-1, 1], [0.3, 0.3]]}
        again.append(decide(tmp_path / str(n), toml(**case))["the file"]["again"])
    assert again[0] < again[1]
    assert "the same action is best in" in capsys.readouterr().out


def says(folder, p):
    """A scripted respondent that says of every prescript in every context how far it holds."""
    folder.mkdir(exist_ok=True, parents=True)
    rows = {f"e{i} | c{j}": {"yes": p[i][j], "no": 1 - p[i][j]} for i in range(len(p)) for j in range(len(p[0]))}
    (folder / "says.json").write_text(json.dumps(rows))
    return f"--model=who=scripted:leaning?file={folder / 'says.json'}"


def test_a_model_says_what_holds(tmp_path, capsys):
    """Gate, seen red with a constant in the place of who knows."""
    matters = GOLDEN | {"u": [[0.9, -1], [-1, 1], [0.2, 0.2]]}
    own = decide(tmp_path / "own", toml(**matters))["the file"]
    found = decide(tmp_path / "model", toml(**matters | {"p": None}), says(tmp_path / "model", GOLDEN["p"]))
    for kind in ("divided", "as they are"):
        assert found["who"]["scores"][kind] == pytest.approx(own["scores"][kind])
    assert found["who"]["choice"] == own["choice"] == "a0"
    turned = [row[::-1] for row in GOLDEN["p"][::-1]]
    other = decide(tmp_path / "other", toml(**matters | {"p": None, "c": [0.3, 0.7]}), says(tmp_path / "other", turned))
    assert other["who"]["choice"] == "a1"
    capsys.readouterr()
    flat = decide(tmp_path / "flat", toml(**matters | {"p": None}), "--model=scripted:constant")["scripted:constant"]
    assert flat["choice"] == flat["same to all"] == "a2"
    assert "so here P changes nothing" in capsys.readouterr().out
    assert found["who"]["same to all"] == "a2"


def test_file_and_models_stand_side_by_side_and_nothing_is_asked_twice(tmp_path, capsys):
    found = decide(tmp_path, toml(**GOLDEN), says(tmp_path, GOLDEN["p"]), "--model=scripted:uniform")
    assert list(found) == ["the file", "who", "scripted:uniform"]
    records = (tmp_path / "out" / "records.jsonl").read_bytes()
    record = json.loads(records.splitlines()[0])
    assert (record["row"], record["text"], record["question"]) == (
        "e0 | c0",
        "Context 0.",
        "Does this hold here: Do 0.",
    )
    assert [o["order"] for o in record["orders"]] == [[0, 1], [1, 0]]
    capsys.readouterr()
    again = decide(tmp_path, toml(**GOLDEN), says(tmp_path, GOLDEN["p"]))
    assert "who: has answered all 4 questions" in capsys.readouterr().out
    assert again == found
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == records
    (tmp_path / "out" / "records.jsonl").write_bytes(b"".join(records.splitlines(keepends=True)[:6])[:-5])
    assert main.main(["decide", str(tmp_path / "case.toml"), f"--out={tmp_path / 'out'}"]) == 2
    resumed = decide(tmp_path, toml(**GOLDEN), says(tmp_path, GOLDEN["p"]), "--model=scripted:uniform")
    assert resumed == found
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == records


def test_the_sample(tmp_path, capsys):
    """One command to a page."""
    assert main.main(["decide", "visit", f"--out={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().out
    assert "Chosen: " in said
    assert "a sample that was made up for this project" in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == page.count("<figcaption>") == 1
    assert main.main(["decide", "visit", f"--out={tmp_path / 'out'}", "--model=scripted:uniform"]) == 0


TEXT = toml(**GOLDEN)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("probability = 0.3", "probability = 0.4", "[[contexts]]: probabilities sum to 1.1, expected 1"),
        ("probability = 0.3", "probability = -0.3", "contexts.c1.probability: found -0.3"),
        ("probability = 0.3", "probabilty = 0.3", "[[contexts]] 2: probabilty: no such key"),
        ("c1 = 0.9", "c1 = 1.9", "relevance.c1: found 1.9, expected a number from 0 to 1"),
        ("c1 = 0.9", "c2 = 0.9", "relevance: 'c2' is no context; there are c0, c1"),
        ("relevance = {c0 = 0.2, c1 = 0.9}", "", "[[prescripts]] e1: has no relevance, and others have"),
        ("relevance = {c0 = 0.2, c1 = 0.9}", "observed = {c0 = [3, 2], c1 = [1, 2]}", "observed.c0: found [3, 2]"),
        ("weights = {c0 = 1, c1 = 0.5}", "", "[[prescripts]] e0: expected weight, one number, or weights"),
        ("weights = {c0 = 1, c1 = 0.5}", "weight = -1", "weights.c0: found -1, expected a number of at least 0"),
        ("utilities = {e0 = 1, e1 = -1}", "utilities = {e0 = 1}", "utilities: says nothing of 'e1'"),
        ("utilities = {e0 = 1, e1 = -1}", "utilities = {e0 = 2, e1 = 0}", "utilities.e0: found 2"),
        ('id = "a1"', 'id = "a0"', "[[actions]] 2: id: 'a0' stands above already"),
        ('id = "e0"', 'id = "e|0"', "[[prescripts]] 1: id: found 'e|0', expected a name without '|'"),
        ('text = "Do 0."', "", "[[prescripts]] 1: text: found None, expected a text"),
        ("[choice]", "[choice]\ntemprature = 1", "[choice]: temprature: no such key"),
        ("[choice]", "[choice]\nmargin = -1", "[choice] margin: found -1"),
        ("[choice]", "[choice]\nseed = 1.5", "[choice] seed: found 1.5"),
        ("[choice]", "[choice", "cannot be read as TOML"),
        ("[choice]", "titel = 'x'\n[choice]", "titel: no such key"),
    ],
)
def test_a_mistake_in_the_case(one, other, said, tmp_path, capsys):
    assert TEXT.count(one) == 1
    (tmp_path / "case.toml").write_text(TEXT.replace(one, other))
    assert main.main(["decide", str(tmp_path / "case.toml"), f"--out={tmp_path / 'out'}"]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "case.toml" in message
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_the_flags(tmp_path, capsys):
    path = tmp_path / "case.toml"
    path.write_text(toml(**GOLDEN | {"p": None}))
    for flags, said in (
        ([str(path)], "[[prescripts]] have no relevance and no observed; give one of them, or --model="),
        (["nowhere"], "nowhere: no such file; expected a CASE.toml, or one of trolley, visit"),
        (["visit", "--temperature=-1"], "--temperature=-1.0: expected a number of at least 0"),
        (["visit", "--margin=nan"], "--margin=nan: expected a number of at least 0"),
        (["visit", "--x"], "--x: unknown argument"),
    ):
        assert main.main(["decide", *flags, f"--out={tmp_path / 'out'}"]) == 2
        assert said in capsys.readouterr().err


def test_another_case_in_its_directory_is_refused(tmp_path, capsys):
    decide(tmp_path, toml(**GOLDEN), says(tmp_path, GOLDEN["p"]))
    (tmp_path / "case.toml").write_text(toml(**GOLDEN).replace('"e0"', '"e9"').replace("e0 =", "e9 ="))
    assert main.main(["decide", str(tmp_path / "case.toml"), f"--out={tmp_path / 'out'}"]) == 2
    assert "row 'e0 | c0' is not of this case; pass --out=ANOTHER" in capsys.readouterr().err
