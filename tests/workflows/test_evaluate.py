"""The whole way with score heads: encoders of options and of classes, and a decoder that reads one option at a time."""

import dataclasses
import json

import numpy as np
import pytest

import moral_jax
from moral_jax.cli import main
from moral_jax.config.model import AdapterConfig
from moral_jax.config.task import PromptConfig, TaskConfig
from moral_jax.config.train import ObjectiveConfig, TrainConfig
from moral_jax.runs.directory import read_config
from moral_jax.runs.records import read_jsonl
from moral_jax.tasks import load
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.types import UserError
from moral_jax.workflows import train
from moral_jax.workflows.local_model import find_model
from tests.config.test_presets import write_rows
from tests.helpers import tiny

pytestmark = pytest.mark.usefixtures("two_devices")
SHORT = TrainConfig(epochs=6, eval_every=4)


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    return tiny.write_encoder_folder(tmp_path_factory.mktemp("encoder"), layers=1)


@pytest.fixture(scope="module")
def decoder_folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("decoder"), layers=1)


@pytest.fixture(scope="module")
def anecdotes(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", "anecdotes")


def config_of(folder, head="score", **sections):
    config = tiny.run_config(folder, **{"train": SHORT} | sections)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, head=head))


@pytest.fixture(scope="module")
def runs(encoder_folder, decoder_folder, anecdotes, tmp_path_factory):
    """Each kind of run, trained once."""
    task = TaskConfig(name="anecdotes", path=str(anecdotes), test=0.3, validation=0.3)
    configs = {
        "encoder": config_of(encoder_folder),
        "classes": config_of(encoder_folder, "classes", task=task, objective=ObjectiveConfig()),
        "decoder": config_of(decoder_folder),
        "lora": config_of(decoder_folder, adapter=AdapterConfig(kind="lora", rank=4)),
        "encoder, lora": config_of(encoder_folder, adapter=AdapterConfig(kind="lora", rank=4)),
    }
    beside = configs["encoder, lora"]
    quantised = dataclasses.replace(beside.model, quantize="int8")
    configs["encoder, int8"] = dataclasses.replace(beside, model=quantised)
    made = {}

    def finished(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("runs") / name
            train.train(configs[name], made[name])
        return made[name]

    return finished


@pytest.mark.parametrize("name", ["encoder", "classes", "decoder", "lora", "encoder, lora", "encoder, int8"])
def test_a_run_from_config_to_report(runs, name):
    folder = runs(name)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert len(losses) == len(set(losses)) >= 4  # every step has rows of its own: their losses do not compare
    records = read_jsonl(folder / "trained" / "test.jsonl")
    before = read_jsonl(folder / "initial" / "test.jsonl")
    assert all(r["option_mass"] is None for r in records)
    assert all([o["order"] for o in r["orders"]] == [list(range(len(r["options"])))] for r in records)
    assert all(sum(r["probabilities"]) == pytest.approx(1) for r in records)
    assert len({len(r["options"]) for r in records}) == 1
    assert len({round(r["probabilities"][0], 4) for r in records}) > 3 or name == "classes"
    assert records[0]["probabilities"] != before[0]["probabilities"]
    metrics = json.loads((folder / "trained" / "metrics.json").read_text())["metrics"]
    assert not {"option_mass", "legacy_dirichlet", "legacy_cross_entropy", "first_place_bias"} & set(metrics)
    page = (folder / "report.html").read_text()
    assert "probability on the options" not in page
    assert "legacy" not in page


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_swapped_actions_have_swapped_probabilities(runs, name, tmp_path):
    rows = [json.loads(line) for line in write_rows(tmp_path / "rows.jsonl", "dilemmas").read_text().splitlines()]
    for row in rows:
        row["actions"].reverse()
        row["gold_annotations"].reverse()
    (tmp_path / "swapped.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for file in ("rows", "swapped"):
        arguments = [f"--path={tmp_path / file}.jsonl", f"--out={tmp_path / file}"]
        assert main.main(["eval", f"--run={runs(name)}", *arguments]) == 0
    a, b = (read_jsonl(tmp_path / file / "answers" / "rows.jsonl") for file in ("rows", "swapped"))
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one["probabilities"], other["probabilities"][::-1], atol=1e-6)
        assert one["concentration"] == pytest.approx(other["concentration"], rel=1e-5)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_a_person_is_answered(runs, name, tmp_path, capsys):
    (tmp_path / "q.txt").write_text("Which is worse? | lying | stealing\nWho? | me | you | we\n")
    assert main.main(["ask", f"--run={runs(name)}", str(tmp_path / "q.txt")]) == 0
    shown = capsys.readouterr().out
    assert shown.count("%") == 2 + 3
    assert "tokens" not in shown


def test_scores_do_not_depend_on_packing(encoder_folder, tmp_path):
    probabilities = []
    for name, data in (("a", {"length": 64, "questions_per_row": 1}), ("b", {"length": 500, "questions_per_row": 64})):
        config = config_of(encoder_folder, train=TrainConfig(steps=0))
        train.train(dataclasses.replace(config, data=dataclasses.replace(config.data, **data)), tmp_path / name)
        probabilities.append([r["probabilities"] for r in read_jsonl(tmp_path / name / "initial" / "test.jsonl")])
    np.testing.assert_allclose(*probabilities, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "changes", "message"),
    [
        ("encoder", {"head": "vocabulary"}, "'vocabulary': predicts the next token, which encoders.*use 'score'"),
        (
            "encoder",
            {"head": "vocabulary", "task": TaskConfig(name="anecdotes")},
            "which encoders such as bert cannot do; for task 'anecdotes' use 'classes'",
        ),
        ("encoder", {"head": "classes"}, "the same options in every row, as tasks anecdotes, "),
        ("decoder", {"head": "classes"}, "'classes': is for encoders; llama can read all"),
        (
            "encoder",
            {"adapter": AdapterConfig("lora", targets="q_proj")},
            "matches no matrix of bert, which has query, key",
        ),
    ],
)
def test_what_does_not_go_together(encoder_folder, decoder_folder, backbone, changes, message):
    folder = encoder_folder if backbone == "encoder" else decoder_folder
    with pytest.raises(UserError, match=message):
        find_model(config_of(folder, **changes))


def test_an_unknown_head_is_named(decoder_folder):
    with pytest.raises(UserError, match="config.model.head='eech': expected 'vocabulary' or 'text' or 'score' or 'cl"):
        config_of(decoder_folder, "eech")


@pytest.mark.parametrize(
    ("head", "prompt", "message"),
    [
        ("vocabulary", {"ask": "each"}, "config.prompt.ask='each': expected 'together' with config.model.head='vocab"),
        ("score", {"ask": "together"}, "config.prompt.ask='together': expected 'each' with config.model.head='score'"),
        ("classes", {"format": "chat"}, "config.prompt.format='chat': expected 'plain' with config.model.head='class"),
    ],
)
def test_prompts_that_a_head_cannot_read(decoder_folder, head, prompt, message):
    with pytest.raises(UserError, match=message):
        config_of(decoder_folder, head, prompt=PromptConfig(**prompt))


EXPORTED = {
    "encoder": "BertForMultipleChoice",
    "classes": "BertForSequenceClassification",
    "decoder": "LlamaForSequenceClassification",
    "lora": "LlamaForSequenceClassification",
    "encoder, lora": "BertForMultipleChoice",
    "encoder, int8": "BertForMultipleChoice",
}


@pytest.mark.parametrize("name", EXPORTED)
def test_transformers_has_the_same_probabilities(runs, name, tmp_path, anecdotes):
    """The class that the export names, given the texts of a record one by one."""
    torch = pytest.importorskip("torch", reason="torch is the reference; [test] installs it on Python 3.11")
    transformers = pytest.importorskip("transformers")
    assert main.main(["export", str(runs(name)), str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == [EXPORTED[name]]
    model, told = getattr(transformers, EXPORTED[name]).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    trained = moral_jax.load(runs(name))
    examples = load.load(read_config(runs(name)).task).test[:4]
    asked = trained.respondent.scoring.encoder.for_scoring(examples, "x")
    for record, encoded in zip(trained.records(examples), asked.encoded, strict=True):
        logits = []
        for text in encoded.texts:
            given = {"input_ids": torch.from_numpy(text.tokens_T).long()[None]}
            if name.startswith(("encoder", "classes")):
                given["token_type_ids"] = torch.from_numpy(text.types_T).long()[None]
            if name.startswith("encoder"):
                given = {k: v[None] for k, v in given.items()}
            with torch.no_grad():
                logits += model.eval()(**given).logits[0].tolist()
        np.testing.assert_allclose(torch.tensor(logits).softmax(-1), record["probabilities"], atol=1e-5)
    if name == "classes":
        assert list(model.config.id2label.values()) == list(examples[0].options)


def test_beside_frozen_weights_an_encoder_trains_adapters_and_its_head(runs):
    with Checkpoints(runs("encoder, int8") / "checkpoints") as checkpoints:
        names = checkpoints.read_manifest(checkpoints.latest()).checksums
    assert {name.split("/")[1] for name in names if name.startswith("params/")} == {"adapters", "score", "head"}


def test_what_cannot_be_exported(runs, encoder_folder, tmp_path, capsys):
    assert main.main(["export", str(runs("lora")), str(tmp_path / "out"), "--format=peft"]) == 2
    assert "score head, which has no place in PEFT's files" in capsys.readouterr().err
    train.train(config_of(encoder_folder, train=TrainConfig(steps=0)), tmp_path / "zero")
    assert main.main(["export", str(tmp_path / "zero"), str(tmp_path / "out")]) == 2
    assert "trained nothing; its score head is as new" in capsys.readouterr().err
