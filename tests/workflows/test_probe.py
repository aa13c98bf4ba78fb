"""Probes from outside: a planted bit, words that give it away, states that are kept, two runs, encoders, mistakes."""

import json

import numpy as np
import pytest

from moral_jax.cli import main
from tests.helpers import questionnaires, tiny

FLAGS = ["--config.model.product_dtype=float32", "--config.data.length=256", "--resamples=100"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny.write_encoder_folder(tmp_path_factory.mktemp("encoder"), layers=2)


def lines(groups=12):
    """Rows in pairs: the label stands in one of them as a word, and nowhere else."""
    words = ["kept", "broke", "gave", "took", "told", "hid"]
    out = []
    for i in range(groups):
        for bit in ("red", "blue"):
            text = f"Somebody {words[i % 6]} a promise {i}. The card is {bit}."
            out.append({"id": f"{i}-{bit}", "text": text, "question": "Was it wrong?", "options": ["yes", "no"],
                        "gold": "yes" if (i + (bit == "red")) % 2 else "no", "key": f"pair {i}",
                        "group": {"card": bit}})  # fmt: skip
    return out


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines()))
    return path


def probe(rows, out, *flags):
    assert main.main(["probe", str(rows), f"--out={out}", *FLAGS, *flags]) == 0
    return json.loads((out / "probe.json").read_text())


def refused(capsys, *command):
    assert main.main(["probe", *map(str, command)]) == 2
    return capsys.readouterr().err


def test_a_planted_bit_is_found_and_the_page_says_that_words_give_it_away(rows, model, tmp_path, capsys):
    found = probe(rows, tmp_path / "out", f"--model=tiny={model}", "--label=card", "--keep-states")
    of = found["respondents"]["tiny"]
    assert found["classes"] == {"blue": 12, "red": 12}
    assert (found["rows"], found["groups"], found["floor"]) == (24, 12, 0.5)
    assert len(of["layers"]) == 4  # embeddings and three layers
    assert of["layers"][0]["accuracy"]["value"] == 0.5  # all answers are read at the same token
    assert max(layer["accuracy"]["value"] for layer in of["layers"]) > 0.9
    assert found["words"]["value"] == 1
    said = capsys.readouterr().out
    assert "The probe finds more than the answer says" not in said  # the card is not the answer
    page = (tmp_path / "out" / "report.html").read_text()
    for text in (said, page):
        assert "this says no more than that the words are in the states" in text
        assert "is no proof that the model uses it" in text
    assert page.count("<svg") == 3
    kept = np.load(tmp_path / "out" / "states-1-tiny.npz")
    assert kept["states_LED"].shape == (4, 24, 32)
    assert kept["states_LED"].dtype == np.float32
    assert list(kept["ids"][:2]) == ["0-red", "0-blue"]
    assert list(kept["labels"][:2]) == ["red", "blue"]


def test_the_last_layers_log_odds_are_those_of_the_answers(rows, model, tmp_path):
    found = probe(rows, tmp_path / "out", f"--model=tiny={model}")
    lens = found["respondents"]["tiny"]["layers"][-1]
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "task.toml").write_text("")
    (tmp_path / "task" / "rows.jsonl").write_text(rows.read_text())
    asked = ["ask", f"--task={tmp_path / 'task'}", f"--model=tiny={model}", *FLAGS, f"--out={tmp_path / 'answers'}"]
    assert main.main(asked) == 0
    records = [json.loads(line) for line in (tmp_path / "answers" / "records.jsonl").read_text().splitlines()]
    odds = []
    for r in records:
        of_orders = [np.log(o["probabilities"]) for o in r["orders"]]
        odds.append(np.mean([p[r["gold"]] - p[1 - r["gold"]] for p in of_orders]))
    assert lens["logit_difference"]["value"] == pytest.approx(np.mean(odds), abs=1e-4)
    assert lens["lens_accuracy"]["value"] == pytest.approx(np.mean(np.array(odds) > 0))


def test_two_models_on_one_page(rows, model, tmp_path, capsys):
    other = tiny.write_folder(tmp_path / "other", seed=1)
    flags = [f"--model=one={model}", f"--model=same={model}", f"--model=other={other}", "--label=card"]
    found = probe(rows, tmp_path / "out", *flags)
    same, different = found["pairs"]
    assert same["names"] == ["one", "same"]
    assert same["layers"][0]["cka"] is None  # constant: the embedding of one token
    for layer in same["layers"][1:]:
        assert layer["cka"] == pytest.approx(1, abs=1e-9)
        assert layer["direction"]["cosine"]["value"] == pytest.approx(1)
        assert layer["direction"]["gap_change"]["value"] == pytest.approx(0, abs=1e-9)
        low, high = layer["band"]
        assert low < high < 0.9
    for layer in different["layers"][1:]:
        assert layer["cka"] < layer["cka_biased"]
        assert abs(layer["direction"]["cosine"]["value"]) < 0.9
    page = (tmp_path / "out" / "report.html").read_text()
    assert "debiased CKA is lowest in layer" in page
    assert page.count("<svg") == 9
    assert "no clear change" in capsys.readouterr().out


def test_an_encoder_is_probed_and_its_random_head_is_not_read(rows, encoder, tmp_path, capsys):
    head = "--config.model.head=score"
    found = probe(rows, tmp_path / "out", f"--model=enc={encoder}", "--label=card", head, "--config.data.length=128")
    layers = found["respondents"]["enc"]["layers"]
    assert len(layers) == 3
    assert not any("logit_difference" in layer for layer in layers)
    assert max(layer["accuracy"]["value"] for layer in layers) > 0.8
    assert "enc has no trained head, so no layer is read through it" in capsys.readouterr().out


def test_a_row_without_a_key_is_one_group_under_all_conditions(tmp_path):
    from moral_jax.workflows import probe_rows

    plain = [{name: value for name, value in line.items() if name != "key"} for line in lines()]
    conditions = [{"axis": "tone", "id": tone, "before": f"Be {tone}."} for tone in ("kind", "blunt")]
    folder = questionnaires.write(tmp_path / "task", plain, conditions)
    asked = probe_rows.read(str(folder), {"tone": ["kind", "blunt"]}, None, "tone", None)
    groups = asked.rows.groups_E
    assert np.bincount(groups).tolist() == [2] * 24
    assert all(set(asked.rows.labels_E[groups == g]) == {0, 1} for g in range(24))


def test_conditions_are_labels_and_do_not_part_a_row(model, tmp_path):
    flags = ["--condition=card=red,blue", "--label=card", "--limit=40", f"--model=tiny={model}"]
    found = probe("statements", tmp_path / "out", *flags)
    assert found["classes"] == {"blue": 40, "red": 40}
    assert found["groups"] == 10
    assert found["words"]["value"] == 1


def test_shipped_statements_are_balanced_word_by_word():
    from moral_jax.workflows import probe_rows

    asked = probe_rows.read("statements", {}, None, None, None)
    labels, groups = asked.rows.labels_E, asked.rows.groups_E
    assert len(labels) == 120
    assert labels.mean() == 0.5
    assert np.bincount(groups).tolist() == [4] * 30
    for group in range(30):
        said = [(sorted(asked.rows.words[i]), labels[i]) for i in np.flatnonzero(groups == group)]
        true, false = (sorted(w for words, label in said if label == k for w in words) for k in (1, 0))
        assert true == false


def test_another_probe_in_the_directory_is_not_overwritten(rows, model, tmp_path, capsys):
    out = tmp_path / "out"
    flags = [f"--model=tiny={model}", "--label=card"]
    first = probe(rows, out, *flags)
    assert probe(rows, out, *flags) == first  # the same probe gives the same numbers
    said = refused(capsys, rows, f"--model=tiny={model}", f"--out={out}", *FLAGS)
    assert "holds numbers of another probe (label differs); pass --out=ANOTHER" in said
    assert json.loads((out / "probe.json").read_text()) == first


def test_mistakes(rows, model, tmp_path, capsys):
    out = f"--out={tmp_path / 'out'}"
    for who in ("scripted:first", "baseline:tfidf"):
        assert "shows no hidden states; only models on this machine do: --model=PATH" in refused(
            capsys, rows, f"--model={who}", out
        )
    here = f"--model={model}"
    assert "no such variable, group or axis; there are 'gold', 'card'" in refused(capsys, rows, here, "--label=x", out)
    said = refused(capsys, rows, here, "--limit=10", out)
    assert "the rows fall into 5 groups that share no key; a probe needs 10 at least" in said
    texts = [line | {"options": [line["id"], "no"], "gold": line["id"]} for line in lines()]
    rows.write_text("".join(json.dumps(line) + "\n" for line in texts))
    assert "label 'gold' has 24 values in these rows" in refused(capsys, rows, here, out)
    rows.write_text("".join(json.dumps({k: v for k, v in line.items() if k != "gold"}) + "\n" for line in lines()))
    assert "no row has a right option or votes" in refused(capsys, rows, here, out)
    head = "--config.model.head=text"
    assert "a probe one state; set --config.model.head=vocabulary" in refused(
        capsys, rows, here, "--label=card", head, out
    )
    assert "expected 0 or more" in refused(capsys, rows, here, "--seed=-1", out)
    assert not (tmp_path / "out").exists()
