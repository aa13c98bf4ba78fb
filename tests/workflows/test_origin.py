"""A run is what it was: its model's files, its checkpoints, its arithmetic; whoever goes on with it or asks it."""

import dataclasses
import json
import shutil

import pytest

import moral_jax
from moral_jax.config.model import AdapterConfig
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import TrainConfig
from moral_jax.runs.directory import RunDirectory, read_config
from moral_jax.runtime import files
from moral_jax.train import manifest
from moral_jax.types import UserError
from moral_jax.weights import source
from moral_jax.workflows import evaluate, export, local_model, train
from tests.helpers import tiny

pytestmark = pytest.mark.usefixtures("two_devices")
VOTES = {"gold_annotations": [3, 2], "human_perf_annotations": [2, 3]}
FREE = evaluate.NO_BUDGET


@pytest.fixture(scope="module")
def model(tiny_folder, tmp_path_factory):
    """A model that tests change, and put back."""
    return shutil.copytree(tiny_folder, tmp_path_factory.mktemp("model") / "m")


def config_of(model, **sections):
    short = {"task": TaskConfig(name="synthetic", limit=4), "train": TrainConfig(epochs=1, steps=2, checkpoint_every=1)}
    return tiny.run_config(model, **short | sections)


@pytest.fixture(scope="module")
def runs(model, tmp_path_factory):
    """A run that trained adapters, and one that trained all weights."""
    folder = tmp_path_factory.mktemp("runs")
    for name, adapter in (("lora", AdapterConfig(kind="lora", rank=4)), ("all", AdapterConfig())):
        train.train(config_of(model, adapter=adapter), folder / name)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    actions = [{"id": a, "description": a} for a in ("lying", "stealing")]
    file.write_text(json.dumps({"id": "1", "actions": actions} | VOTES) + "\n")
    return file


@pytest.fixture
def change(model):
    """Changes the first file of a name that the model has; put back at the end."""
    kept = {}

    def to(name, content):
        data = (model / name).read_bytes() if (model / name).exists() else None
        kept.setdefault(name, data)
        (model / name).write_bytes(content(data))

    yield to
    for name, data in kept.items():
        (model / name).unlink() if data is None else (model / name).write_bytes(data)


def uses(run, rows, out):
    """All that is done with a run that has ended."""
    config, there = read_config(run), RunDirectory(run)
    yield lambda: moral_jax.load(run)
    yield lambda: evaluate.evaluate(config, out, FREE, str(rows), there)
    yield lambda: export.write(run, out, 100, None)
    if config.adapter.kind != "none":
        yield lambda: export.write_adapter(run, out, None)


WEIGHTS = ("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
SETTINGS = [
    ("config.json", lambda data: data.replace(b'"rms_norm_eps": 1e-05', b'"rms_norm_eps": 0.5')),
    ("tokenizer.json", lambda data: data + b" "),
    ("chat_template.jinja", lambda data: b"Answer wrongly. " + data),
    ("added_tokens.json", lambda data: b"{}"),
]


@pytest.mark.fault(
    "a file of its model changes after a run has ended, and the run is asked, evaluated, exported",
    promise="refused by name with both SHA-256; new weights beside weights that were trained change nothing",
)
@pytest.mark.parametrize(
    ("run", "name", "content"),
    [("lora", *WEIGHTS), *[(run, *setting) for run in ("lora", "all") for setting in SETTINGS]],
)
def test_a_run_beside_other_files_is_refused(run, name, content, runs, rows, change, tmp_path):
    change(name, content)
    for use in uses(runs / run, rows, tmp_path / "out"):
        with pytest.raises(UserError, match=f"^{name}: no longer what {runs / run} began with: .* or train again"):
            use()
    assert not list(tmp_path.iterdir())


def test_weights_that_were_all_trained_need_no_others(runs, change):
    want = moral_jax.load(runs / "all").ask("Which?", ["lying", "stealing"])
    change(*WEIGHTS)
    assert moral_jax.load(runs / "all").ask("Which?", ["lying", "stealing"]) == want


@pytest.mark.fault(
    "the checkpoints of another run, copied into a run's directory",
    promise="refused by whoever would read them, with what differs",
)
@pytest.mark.parametrize("differs", ["config", "weights"])
def test_checkpoints_of_another_run_are_refused(differs, runs, model, rows, change, tmp_path):
    run = shutil.copytree(runs / "all", tmp_path / "r")
    shutil.rmtree(run / "trained")
    config = read_config(run)
    if differs == "config":
        train.train(dataclasses.replace(config, train=dataclasses.replace(config.train, seed=7)), tmp_path / "other")
        said = r"train.seed: 7 -> 0"
    else:
        change(*WEIGHTS)
        train.train(config, tmp_path / "other")
        change(*WEIGHTS)  # back
        said = r"model.safetensors: [0-9a-f]{64} -> [0-9a-f]{64}"
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(tmp_path / "other" / "checkpoints", run / "checkpoints")
    message = rf"(?s)checkpoints/2: is a checkpoint of another run. Put .* back, or remove .*\n  {said}"
    with pytest.raises(UserError, match=message):
        train.train(config, run)
    with pytest.raises(UserError, match=message):
        moral_jax.load(run).ask("Which?", ["lying", "stealing"])
    with pytest.raises(UserError, match=message):
        export.write(run, tmp_path / "out", 100, None)


def test_a_run_that_was_stopped_before_its_first_checkpoint_is_not_its_model(runs, tmp_path):
    run = shutil.copytree(runs / "all", tmp_path / "r")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="holds no checkpoint; was the run stopped before its first one"):
        moral_jax.load(run).ask("Which?", ["lying", "stealing"])
    with pytest.raises(UserError, match="holds no checkpoint"):
        export.write(run, tmp_path / "out", 100, None)


def test_an_evaluation_goes_on_with_the_checkpoint_that_it_began_with(runs, rows, tmp_path):
    run, out = RunDirectory(shutil.copytree(runs / "all", tmp_path / "r")), tmp_path / "e"
    config = read_config(run.path)
    for _ in range(2):
        evaluate.evaluate(config, out, FREE, str(rows), run)
    last = manifest.read(run.checkpoints, 2)
    manifest.write(run.checkpoints, dataclasses.replace(last, checksums=dict.fromkeys(last.checksums, 1)))
    with pytest.raises(UserError, match="^checkpoints/2: no longer what .*/e began with"):
        evaluate.evaluate(config, out, FREE, str(rows), run)
    with pytest.raises(UserError, match="^checkpoints/2: .* is none, as it is not there now"):
        moral_jax.load(out)  # the weights that answered are those of the run, not its model's


@pytest.mark.fault(
    "a run goes on where products are rounded otherwise",
    promise="it keeps the arithmetic that it began with, and says so",
)
def test_a_run_keeps_its_arithmetic(model, capsys):
    config = config_of(model)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, product_dtype=None))
    here = local_model.find_model(config).model.compute.product_dtype
    other = {"float32": "bfloat16", "bfloat16": "float32"}[here]
    for kept in (here, other):
        capsys.readouterr()
        began = {"arithmetic": {"dtype": "float32", "product_dtype": kept, "attention": "plain"}}
        assert local_model.find_model(config, began=began).model.compute.product_dtype == kept
        said = f"began with config.model.dtype=float32 and config.model.product_dtype={other}, and keeps them"
        assert (said in capsys.readouterr().out) == (kept == other)
    with pytest.raises(UserError, match="config.model.dtype='float8': expected 'float32' or 'bfloat16'"):
        local_model.find_model(config, began={"arithmetic": {"dtype": "float8"}})


def test_training_and_evaluations_go_on_with_the_arithmetic_that_they_recorded(runs, rows, tmp_path, monkeypatch):
    run = RunDirectory(shutil.copytree(runs / "all", tmp_path / "r"))
    config = read_config(run.path)
    evaluate.evaluate(config, tmp_path / "e", FREE, str(rows), run)
    began = []
    real = local_model.find_model

    def find(*arguments, **named):
        began.append(named["began"]["arithmetic"])
        return real(*arguments, **named)

    monkeypatch.setattr(local_model, "find_model", find)
    monkeypatch.setattr(train.build, "find_model", find)
    train.train(config, run.path)
    evaluate.evaluate(config, tmp_path / "e", FREE, str(rows), run)
    assert [b["product_dtype"] for b in began] == ["float32"] * 2


@pytest.mark.parametrize(
    ("path", "want"), [("owner/model", "owner/model@abc"), ("owner/model@main", "owner/model@main"), ("/m", "/m")]
)
def test_a_run_keeps_the_commit_of_its_model(path, want, tiny_folder, monkeypatch):
    asked = []
    monkeypatch.setattr(source, "resolve", lambda name, files: asked.append(name) or tiny_folder)
    config = config_of(path)
    local_model.find_model(config, began={"model": {"revision": "abc"}})
    local_model.find_model(config)
    assert asked == [want, path]


@pytest.mark.fault(
    "an evaluation interrupted before each of its files",
    promise="the same command goes on from there, in the same directory",
)
def test_an_interrupted_evaluation_goes_on(tmp_path, monkeypatch):
    """Each start gets one file further than the one before."""
    config = config_of("none", task=TaskConfig(name="synthetic", limit=4))
    who = dataclasses.replace(config.respondent, kind="scripted", name="longest")
    config, real, written = dataclasses.replace(config, respondent=who), files.atomic_writer, []

    def interrupted(path):
        if path.name not in written:
            written.append(path.name)
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(files, "atomic_writer", interrupted)
    for _ in range(20):
        try:
            evaluate.evaluate(config, tmp_path / "e", FREE)
        except KeyboardInterrupt:
            continue
        break
    assert {"config.json", "run.json", "provenance.json", "test.jsonl", "metrics.json"} <= set(written)
    assert (tmp_path / "e" / "report.html").exists()
