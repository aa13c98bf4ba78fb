"""A run that begins with another: the same weights, the same reference, with and without adapters."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from moral_jax.config.evaluate import EvalConfig
from moral_jax.config.model import AdapterConfig
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import DataConfig, ObjectiveConfig, OptimConfig, TrainConfig
from moral_jax.runs import origin
from moral_jax.runs.directory import RunDirectory
from moral_jax.runs.text_records import read_text_jsonl
from moral_jax.tasks import synthetic
from moral_jax.types import UserError
from moral_jax.workflows import evaluate, export, train
from moral_jax.workflows.evaluate import on_texts
from tests.helpers import tiny

ACTIONS = [action for action, _ in synthetic.read_actions()]
LORA = AdapterConfig("lora", rank=2, alpha=8.0)
OTHERS = AdapterConfig("lora", rank=4, alpha=4.0, targets="q_proj|v_proj")
DORA = AdapterConfig("dora", rank=2, alpha=8.0)
WHOLE = AdapterConfig()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    chats = [
        {"prompt": f"Should one be {b}?", "completion": f"never {a}"}
        for a, b in zip(ACTIONS, ACTIONS[20:40], strict=False)
    ]
    pairs = [
        {"prompt": f"Should one be {b}?", "chosen": f"{a}, of course", "rejected": f"never {a}"}
        for a, b in zip(ACTIONS, ACTIONS[40:56], strict=False)
    ]
    for name, of in (("chats", chats), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in of))
    return folder


def config_of(model, kind, path, adapter=WHOLE, quantize="none", steps=None, **changes):
    task = TaskConfig(name=kind, path=str(path), validation=0, test=0.5)
    base = tiny.run_config(
        model,
        task=task,
        objective=ObjectiveConfig("sft" if kind == "texts" else "dpo"),
        adapter=adapter,
        data=DataConfig(length=96, batch_size=2, micro_batch_size=1),
        optim=OptimConfig(lr=1e-2),
        train=TrainConfig(epochs=1, steps=steps),
        eval=EvalConfig(bootstrap=100, best_draws=10, initial=kind != "texts"),
    )
    return dataclasses.replace(base, model=dataclasses.replace(base.model, quantize=quantize), **changes)


@pytest.fixture(scope="module")
def stage(rows, tiny_folder, tmp_path_factory):
    """Returns a function that trains a stage once: (name, adapter, quantize, name of the stage before)."""
    folder, made = tmp_path_factory.mktemp("stages"), {}

    def make(adapter, quantize="none", before=None):
        key = (adapter, quantize, before)
        if key not in made:
            out = folder / f"stage-{len(made)}"
            model = f"run:{before}" if before else tiny_folder
            train.train(config_of(model, "texts", rows / "chats.jsonl", adapter, quantize), out)
            made[key] = out
        return made[key]

    return make


def logp(folder, split="test"):
    return {r["id"]: r["logp"] for r in read_text_jsonl(folder / f"{split}.jsonl")}


def on_pairs(run, rows, out):
    """Returns what the weights that a run stands for say of the pairs, by that run's own config."""
    task = TaskConfig(name="preferences", path=str(rows / "pairs.jsonl"), validation=0, test=0.5)
    evaluate.evaluate(
        on_texts(evaluate.directory.read_config(run), task), out, evaluate.NO_BUDGET, None, RunDirectory(run)
    )
    return logp(out / "answers")


COMBINATIONS = {
    "all weights, then all weights": ((WHOLE,), WHOLE, "none"),
    "all weights, then an adapter": ((WHOLE,), LORA, "none"),
    "an adapter, then the same adapter": ((LORA,), LORA, "none"),
    "an adapter, then another one": ((LORA,), OTHERS, "none"),
    "an adapter, then all weights": ((LORA,), WHOLE, "none"),
    "the same adapter three times": ((LORA, LORA), LORA, "none"),
    "an adapter, DoRA, all weights": ((LORA, DORA), WHOLE, "none"),
    "an adapter beside int8, then the same": ((LORA,), LORA, "int8"),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_pair_begins_at_ln_2_with_the_stage_before_as_its_reference(name, stage, rows, tmp_path):
    stages, adapter, quantize = COMBINATIONS[name]
    before = None
    for own in stages:
        before = stage(own, quantize, before)
    out = tmp_path / "dpo"
    config = config_of(f"run:{before}", "preferences", rows / "pairs.jsonl", adapter, quantize, steps=1)
    train.train(config, out)
    theirs, mine = on_pairs(before, rows, tmp_path / "theirs"), logp(out / "initial")
    beta = config.objective.beta
    for row in theirs:
        ratio = np.subtract(mine[row], theirs[row])
        assert np.abs(ratio).max() < 1e-4, row
        assert np.logaddexp(0, -beta * (ratio[0] - ratio[1])) == pytest.approx(np.log(2), abs=1e-5)
    [first] = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines() if '"train"' in line]
    assert first["loss"] == pytest.approx(np.log(2), abs=1e-5)
    began, trained = origin.read(out)["model"]["sha256"], origin.read(before)["trained"]
    assert began[f"{before.name}/checkpoints/{trained['step']}"] == trained["sha256"]


def began_with(before, rows, out, adapter=WHOLE, quantize="none", dtype="float32", **changes):
    config = config_of(f"run:{before}", "preferences", rows / "pairs.jsonl", adapter, quantize, steps=1)
    model = dataclasses.replace(config.model, param_dtype=dtype)
    train.train(dataclasses.replace(config, model=model, **changes), out)


@pytest.mark.parametrize(
    ("stages", "adapter", "quantize", "dtype", "error"),
    [
        (WHOLE, WHOLE, "none", "bfloat16", "trained weights are float32, and storing them as bfloat16"),
        (WHOLE, LORA, "int8", "float32", "storing them as int8 would round away"),
        (LORA, LORA, "none", "bfloat16", "or train the same adapters further"),
        (LORA, OTHERS, "int8", "float32", "or train the same adapters further"),
        (
            LORA,
            AdapterConfig("lora", rank=4, first_layer=1),
            "none",
            "float32",
            "give both the same, or export the run",
        ),
    ],
)
def test_what_a_stage_has_trained_is_not_rounded_away(stages, adapter, quantize, dtype, error, stage, rows, tmp_path):
    with pytest.raises(UserError, match=error):
        began_with(stage(stages), rows, tmp_path / "dpo", adapter, quantize, dtype)
    assert not (tmp_path / "dpo" / "config.json").exists()  # so that the next try may have another config


def test_a_stage_that_has_not_finished_is_refused(stage, rows, tmp_path):
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    for name in ("config.json", "run.json", "provenance.json"):
        (unfinished / name).write_bytes((stage(LORA) / name).read_bytes())
    with pytest.raises(UserError, match="has not finished training .it has no checkpoint yet.; start it again"):
        began_with(unfinished, rows, tmp_path / "dpo", LORA)
    with pytest.raises(UserError, match="holds no run"):
        began_with(tmp_path / "nowhere", rows, tmp_path / "dpo", LORA)


def test_a_run_that_begins_with_itself_is_refused(stage, tmp_path):
    config = config_of(f"run:{tmp_path / 'a'}", "texts", "x.jsonl")
    (tmp_path / "a").mkdir()
    evaluate.directory.saved.save(config, tmp_path / "a" / "config.json")
    with pytest.raises(UserError, match="this run begins with itself"):
        train.train(config, tmp_path / "b")


def test_a_run_does_not_go_on_after_its_stage_before_was_trained_again(stage, rows, tiny_folder, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    train.train(config_of(tiny_folder, "texts", rows / "chats.jsonl", LORA), first)
    began_with(first, rows, second, LORA)
    shutil.rmtree(first)
    again = config_of(tiny_folder, "texts", rows / "chats.jsonl", LORA)
    train.train(dataclasses.replace(again, optim=OptimConfig(lr=2e-2)), first)
    with pytest.raises(UserError, match="first/checkpoints/.*no longer what .*second began with"):
        began_with(first, rows, second, LORA)


def test_untrained_runs_stand_for_their_model(rows, tiny_folder, tmp_path):
    nothing = tmp_path / "nothing"
    config = config_of(tiny_folder, "preferences", rows / "pairs.jsonl", steps=0)
    train.train(config, nothing)
    again = dataclasses.replace(config, model=dataclasses.replace(config.model, path=f"run:{nothing}"))
    train.train(again, tmp_path / "again")
    assert logp(tmp_path / "again" / "initial") == logp(nothing / "initial")


@pytest.mark.parametrize("name", ["an adapter, then the same adapter", "an adapter, then another one"])
def test_the_export_of_a_later_stage_is_the_stage(name, stage, rows, tmp_path):
    (own,), adapter, _ = COMBINATIONS[name]
    run = tmp_path / "dpo"
    began_with(stage(own), rows, run, adapter)
    export.write(run, tmp_path / "exported", 100, None)
    config = config_of(tmp_path / "exported", "preferences", rows / "pairs.jsonl", steps=0)
    train.train(config, tmp_path / "of-export")
    mine, theirs = logp(run / "trained"), logp(tmp_path / "of-export" / "initial")
    assert max(np.abs(np.subtract(mine[row], theirs[row])).max() for row in mine) < 1e-4
    if adapter == own:
        assert "adapters of" in export.write_adapter(run, tmp_path / "peft", None)
        said = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
        assert not said["base_model_name_or_path"].startswith("run:")
    else:
        with pytest.raises(UserError, match="leave out --format=peft"):
            export.write_adapter(run, tmp_path / "peft", None)
