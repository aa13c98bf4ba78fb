"""Cards from outside: no number that is not in the results, no licence that nobody named, no clause without proof."""

import json
import re
from pathlib import Path

import huggingface_hub
import pytest

from moral_jax import report
from moral_jax.cli import main
from moral_jax.report import words
from moral_jax.report.card import CARD
from moral_jax.runs import reply_records, text_records
from tests.helpers.documents import declare, edit, evaluate, trained, write_rows

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")
CHARTER = """
title = "What we promise"

[[clauses]]
id = "near"
text = "The answers are near to people's votes."
evidence = {{ results = "trained/metrics.json:metrics.{metric}", {bound} }}

[[clauses]]
id = "consent"
text = "Whoever voted has agreed to it."
none = "because the votes are made up"
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("documents"))


@pytest.fixture
def own(run, tmp_path):
    """A copy of the run that a test may change."""
    import shutil

    return shutil.copytree(run, tmp_path / "run")


def card(folder, *flags) -> str:
    assert main.main(["card", str(folder), *flags]) == 0
    return (folder / CARD).read_text()


def charter(tmp_path, text=CHARTER, metric="cross_entropy", bound="at_most = 9.5"):
    file = tmp_path / "charter.toml"
    file.write_text(text.format(metric=metric, bound=bound) if "{metric}" in text else text)
    return file


def leaves(value):
    if isinstance(value, dict):
        for key, of in value.items():
            yield key
            yield from leaves(of)
    elif isinstance(value, list):
        for of in value:
            yield from leaves(of)
    else:
        yield value


def of_results(folder, *texts) -> set[str]:
    """Every number that the results hold, as pages write it, and every run of digits in their texts."""
    known: set[str] = set()
    for file in folder.rglob("*.json"):
        for leaf in leaves(json.loads(file.read_text())):
            if isinstance(leaf, bool) or leaf is None:
                continue
            if isinstance(leaf, int | float):
                known |= {words.number(leaf), words.number(leaf, is_log=True), words.number_text(leaf), repr(leaf),
                          f"{round(leaf, 3) + 0.0:+.3f}", f"{leaf:+.3f}"}  # fmt: skip
            else:
                known |= set(NUMBER.findall(leaf))
    for text in texts:
        known |= set(NUMBER.findall(text))
    return known


def strangers(text, folder, *texts) -> set[str]:
    return set(NUMBER.findall(text)) - of_results(folder, *texts)


def test_every_number_stands_in_the_results(run, tmp_path):
    text = card(run, f"--charter={charter(tmp_path)}")
    assert len(set(NUMBER.findall(text))) > 30
    assert not strangers(text, run, "9.5")
    assert "stands in" in text
    for name in ("metrics.cross_entropy", "metrics.accuracy"):
        assert f"trained/metrics.json:{name} " in text
    assert strangers(text + " 0.7317", run, "9.5") == {"0.7317"}  # a number that somebody types is seen


def test_templates_hold_no_digit():
    for name in ("card.md.jinja", "data_card.md.jinja"):
        text = (Path(report.__file__).parent / name).read_text()
        assert not re.search(r"\d", re.sub(r"\{[{%].*?[%}]\}", "", text)), name


def test_a_digit_that_changes_changes_the_card(own):
    before = card(own)
    edit(own / "trained" / "metrics.json", lambda m: m["metrics"]["cross_entropy"].update(value=0.1234))
    _, front, body = card(own).split("---\n", 2)
    assert "0.123" not in before
    assert "| 0.123 [" in body
    assert "value: 0.1234" in front  # the model index


def test_the_front_matter_is_the_hubs(run):
    parsed = huggingface_hub.ModelCard(card(run)).data
    assert parsed.license == "other"  # CC-BY rows: no licence can be named for the weights
    numbers = json.loads((run / "trained" / "metrics.json").read_text())["metrics"]
    assert parsed.eval_results
    for result in parsed.eval_results:
        assert result.metric_value == numbers[result.metric_type]["value"]
    assert parsed.base_model == "made/up"


def test_data_sets_of_the_hub_are_named_as_the_hub_does(own):
    def of_hub(p):
        p["data"]["sets"][0].update(name="a/b@main/parts:test", source="https://huggingface.co/datasets/a/b")

    edit(own / "provenance.json", of_hub)
    assert huggingface_hub.ModelCard(card(own)).data.datasets == ["a/b"]


def test_a_card_asks_nobody(run, monkeypatch):
    def ask(*_, **__):
        raise AssertionError("a card went to the network")

    monkeypatch.setattr(huggingface_hub.repocard.RepoCard, "validate", ask)
    monkeypatch.setattr("socket.socket.connect", ask)
    card(run)


def test_a_permissive_run_names_its_licence(tmp_path):
    run = trained(tmp_path, "apache-2.0", licence="Apache-2.0")
    assert huggingface_hub.ModelCard(card(run)).data.license == "apache-2.0"


def test_licence_source_and_citation_come_from_the_first_read(run):
    text = card(run)
    for said in ("CC-BY-4.0", "https://example.org/panel", "Panel team (2026)", "Web form, consent by click",
                 "2026-03", "bookkeeping, not legal advice"):  # fmt: skip
        assert said in text, said
    assert re.search(r"\| attribution \| Panel votes +\|", text)


def test_without_a_licence_file_and_field_are_named(tmp_path, capsys):
    run = trained(tmp_path)
    edit(run / "provenance.json", lambda p: p["data"]["sets"][0].update(licence=""))
    assert main.main(["card", str(run)]) == 2
    said = capsys.readouterr().err
    assert "no licence is recorded for Panel votes" in said
    assert not (run / CARD).exists()

    run = trained(tmp_path / "model", None)
    assert main.main(["card", str(run)]) == 2
    said = capsys.readouterr().err
    assert f"{run / 'provenance.json'}: model.licence: no licence is recorded for made/up" in said
    assert "--base-licence" in said
    assert "Apache-2.0" in card(run, "--base-licence=Apache-2.0")


def test_rows_that_nobody_declared_have_no_licence(tmp_path, capsys):
    run = evaluate(write_rows(tmp_path), tmp_path / "run")
    assert main.main(["card", str(run)]) == 2
    assert f"{run / 'provenance.json'}: data.sets.0.licence: no licence is recorded for votes.jsonl" in (
        capsys.readouterr().err
    )
    file = declare(tmp_path, licence="NOASSERTION")  # somebody has said that nobody knows
    assert "NOASSERTION" in card(run, f"--data={file}")


@pytest.mark.parametrize(
    ("metric", "bound", "verdict"),
    [
        ("accuracy", "at_least = 0.0", "met"),
        ("accuracy", "at_least = 1.0", "not met"),
        ("cross_entropy", "at_most = 99.0", "met"),
        ("cross_entropy", "at_most = 0.0", "not met"),
        ("cross_entropy.value", "at_most = 99.0", "met"),
    ],
)
def test_a_clause_is_met_or_not(run, tmp_path, metric, bound, verdict):
    text = card(run, f"--charter={charter(tmp_path, metric=metric, bound=bound)}")
    [line] = [line for line in text.splitlines() if line.startswith("| near")]
    assert f"| {verdict} " in line
    [line] = [line for line in text.splitlines() if line.startswith("| consent")]
    assert "| no evidence " in line
    assert "because the votes are made up" in line


def test_an_interval_that_leaves_the_bound_is_not_met(run, tmp_path):
    e = json.loads((run / "trained" / "metrics.json").read_text())["metrics"]["total_variation"]
    assert e["low"] < e["value"] < e["high"]
    for bound, verdict in ((e["high"], "met"), ((e["value"] + e["high"]) / 2, "not met")):
        text = card(run, f"--charter={charter(tmp_path, metric='total_variation', bound=f'at_most = {bound!r}')}")
        assert re.search(rf"\| near .*\| {verdict} ", text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[clauses]]\nid = "a"\ntext = "b"', r"\[\[clauses\]\] 1 \(a\): evidence: found None"),
        ('[[clauses]]\nid = "a"\ntext = "b"\nnone = ""', r"\[\[clauses\]\] 1 \(a\): none: found ''"),
        ('[[clauses]]\nid = "a"\ntext = "b"\nevidence = { results = "x.json:y" }', "evidence: bound: expected at_most"),
        ('[[clauses]]\nid = "a"\ntext = "b"\nevidence = { results = "trained/metrics.json:metrics.x", at_most = 1 }',
         r"clauses\]\] a: evidence: results: .*trained/metrics.json: metrics.x: there is no 'x'"),
        ('[[clauses]]\nid = "a"\ntext = "b"\nevidence = { results = "nowhere.json:x", at_most = 1 }',
         "nowhere.json: no such file"),
        ('[[clauses]]\nid = "a"\ntext = "b"\nevidence = { results = "../x.json:x", at_most = 1 }', "lies outside"),
        ("title = 'x'", r"\[\[clauses\]\]: has none"),
    ],
)  # fmt: skip
def test_a_clause_without_evidence_is_named(run, tmp_path, capsys, text, message):
    file = charter(tmp_path, text)
    assert main.main(["card", str(run), f"--charter={file}", f"--out={tmp_path / 'no.md'}"]) == 2
    said = capsys.readouterr().err
    assert str(file) in said
    assert re.search(message, said), said
    assert not (tmp_path / "no.md").exists()


@pytest.mark.parametrize("kind", [text_records.KIND, reply_records.KIND])
def test_runs_on_texts_and_replies(own, kind):
    names = {text_records.KIND: "nll_per_token", reply_records.KIND: "reward"}
    for stage in ("initial", "trained"):
        numbers = {"kind": kind, "split": "test", "rows": 7, "metrics": {names[kind]: {"value": 1.2345}}, "groups": {}}
        (own / stage / "metrics.json").write_text(json.dumps(numbers))
    text = card(own)
    assert "1.234" in text or "1.235" in text
    assert not strangers(text, own)
    assert "The rows are too few for intervals." in text


def test_a_questionnaire(tmp_path):
    out = tmp_path / "answers"
    flags = ["--task=pluralism", "--model=scripted:uniform", f"--out={out}", "--resamples=50"]
    assert main.main(["ask", *flags]) == 0
    text = card(out)
    assert "scripted:uniform" in text
    assert not strangers(text, out)
    assert "No weights lie here" in text


def test_a_study(tmp_path):
    (tmp_path / "nulls.py").write_text(
        "from moral_jax.study import spec\n\ndef get_study():\n"
        '    quick = ("--config.eval.bootstrap=100", "--config.eval.best_draws=10")\n'
        '    return spec.Study("Nulls", (spec.baseline("prior", "synthetic", "demo", *quick),), resamples=1000)\n'
    )
    out = tmp_path / "study"
    assert main.main(["study", f"--config={tmp_path / 'nulls.py'}", f"--workdir={out}"]) == 0
    text = card(out)
    assert re.search(r"^- prior.synthetic\S*: done$", text, re.MULTILINE), text[:900]
    assert "# Nulls" in text
    assert not strangers(text, out)


def test_a_card_says_what_was_not_measured(run, tmp_path):
    text = card(run).split("## What was not measured")[1]
    for said in ("Charter: none was given", "Fairness between groups", "another seed"):
        assert said in text
    assert "Charter: none" not in card(run, f"--charter={charter(tmp_path)}")


def test_nothing_but_a_card_is_overwritten(run, tmp_path, capsys):
    (tmp_path / "mine.md").write_text("mine")
    assert main.main(["card", str(run), f"--out={tmp_path / 'mine.md'}"]) == 2
    assert "holds something that is no card" in capsys.readouterr().err
    assert (tmp_path / "mine.md").read_text() == "mine"


def test_the_card_of_rows(tmp_path, capsys):
    file = write_rows(tmp_path, 7)
    assert main.main(["card", str(file)]) == 2
    assert f"{tmp_path / 'data.toml'}: licence: no such file" in capsys.readouterr().err
    declare(tmp_path)
    assert main.main(["card", str(file)]) == 0
    out = tmp_path / "votes.jsonl.card.md"
    text = out.read_text()
    assert not strangers(text, tmp_path, (tmp_path / "data.toml").read_text())
    assert re.search(r"\| rows +\| 7 ", text)
    assert json.loads((tmp_path / "votes.jsonl.card.json").read_text())["rows"] == 7
    assert huggingface_hub.DatasetCard(text).data.license == "cc-by-4.0"
    assert "yes, with attribution" in text


def test_what_is_declared_for_tests_is_not_trained_on(tmp_path, capsys):
    file = write_rows(tmp_path)
    declare(tmp_path, use="test")
    flags = ["eval", "--model=scripted:first", f"--config.task.path={file}", "--config.task.name=votes"]
    assert main.main([*flags, f"--out={tmp_path / 'run'}"]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'data.toml'}: use: found 'test'" in said
    assert "--config.task.test_only=true" in said
    evaluate(file, tmp_path / "run", "--config.task.test_only=true")


def test_a_hash_that_is_declared_is_checked(tmp_path, capsys):
    file = write_rows(tmp_path)
    declare(tmp_path, version=None, sha256="0" * 64)
    flags = ["eval", "--model=scripted:first", f"--config.task.path={file}", "--config.task.name=votes"]
    assert main.main([*flags, f"--out={tmp_path / 'run'}"]) == 2
    assert "sha256: " + "0" * 64 + " is not that of" in capsys.readouterr().err
