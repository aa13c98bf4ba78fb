"""Runs with adapters: what a checkpoint holds, resumed bit for bit, exported merged and as PEFT has them."""

import dataclasses
import json
import re

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors import safe_open

import moral_jax
from moral_jax.cli import main
from moral_jax.config import Config
from moral_jax.config.model import AdapterConfig, ModelConfig
from moral_jax.config.saved import save
from moral_jax.config.task import TaskConfig
from moral_jax.config.train import OptimConfig, TrainConfig
from moral_jax.models import api
from moral_jax.runs.directory import RunDirectory, read_config
from moral_jax.runs.records import read_jsonl
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.types import UserError
from moral_jax.weights import export, peft
from moral_jax.weights.load import flat
from moral_jax.workflows import evaluate, local_model, train
from moral_jax.workflows import export as publish
from tests.helpers import tiny
from tests.helpers.stopped import train_until

pytestmark = pytest.mark.usefixtures("two_devices")


@pytest.fixture(scope="module")
def config(tiny_folder):
    return tiny.run_config(
        tiny_folder,
        adapter=AdapterConfig(kind="lora", rank=4, alpha=8.0, targets="[qv]_proj|down_proj", first_layer=1),
        task=TaskConfig(name="synthetic", limit=16),
        optim=OptimConfig(lr=3e-2),
        train=TrainConfig(epochs=2, eval_every=4, checkpoint_every=2),
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train.train(config, folder)
    return folder


def probabilities(path):
    return np.array([r["probabilities"] for r in read_jsonl(path)])


def saved(folder, config):
    with Checkpoints(folder / "checkpoints") as checkpoints:
        model = local_model.find_model(config).model
        _, like = api.split(api.abstract_params(model), model)
        latest = checkpoints.latest()
        return latest, checkpoints.restore_params(latest, like)


def test_a_checkpoint_holds_adapters_and_head_alone(finished, config):
    """And the settings without which the numbers mean nothing."""
    step, params = saved(finished, config)
    on_disk = ocp.PyTreeCheckpointer().restore(finished / "checkpoints" / str(step))
    names = {name.split("/")[1] for name in on_disk if name.startswith("params/")}
    assert names == {"adapters", "head"}
    adapted = {re.sub(r"params/adapters/(layers|last_layer)/", "", name) for name in on_disk if "params/ad" in name}
    assert {name.rpartition("/")[0] for name in adapted} == {"attention/query", "attention/value", "mlp/down"}
    shapes = {leaf.shape for leaf in jax.tree.leaves(params)} | {()}
    assert {np.shape(x) for name, x in on_disk.items() if name.startswith("opt_state/")} == shapes
    with Checkpoints(finished / "checkpoints") as checkpoints:
        assert checkpoints.read_manifest(step).about["config"] == json.loads(json.dumps(dataclasses.asdict(config)))


def test_training_moves_the_probabilities(finished):
    before, after = (probabilities(finished / stage / "test.jsonl") for stage in ("initial", "trained"))
    assert np.abs(before - after).max() > 1e-3


def test_a_stopped_run_goes_on_bit_for_bit(config, finished, tmp_path):
    train_until(config, tmp_path / "r", 3)
    train.train(config, tmp_path / "r")
    jax.tree.map(np.testing.assert_array_equal, saved(tmp_path / "r", config), saved(finished, config))
    assert (tmp_path / "r" / "trained" / "test.jsonl").read_bytes() == (
        finished / "trained" / "test.jsonl"
    ).read_bytes()


def test_another_meaning_of_the_same_numbers_is_refused(config, finished, tmp_path):
    other = dataclasses.replace(config, adapter=dataclasses.replace(config.adapter, alpha=9.0))
    (tmp_path / "r").mkdir()
    save(other, tmp_path / "r" / "config.json")
    (tmp_path / "r" / "checkpoints").symlink_to(finished / "checkpoints")
    message = r"is a checkpoint of another run. Put this run's own .*\n  adapter.alpha: 8.0 -> 9.0"
    with pytest.raises(UserError, match=message):
        moral_jax.load(tmp_path / "r").ask("Which?", ["a", "b"])
    with pytest.raises(UserError, match=message):
        publish.write(tmp_path / "r", tmp_path / "out", 1, None)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    row = {"text": "She read her friend's diary.", "question": "Was it wrong?", "options": ["yes", "no", "maybe"]}
    path.write_text("\n".join(json.dumps(row | {"id": str(i), "counts": [i + 1, 7, 2]}) for i in range(4)))
    return path


def asked(model, rows, out, *flags):
    own = ["--config.model.unroll=1", "--config.model.product_dtype=float32", "--config.eval.bootstrap=100"]
    flags = [*own, "--config.task.name=votes", *flags]
    assert main.main(["eval", f"--model={model}", f"--path={rows}", f"--out={out}", *flags]) == 0
    return probabilities(out / "answers" / "rows.jsonl")


def run_asked(run, rows, out):
    """The run's own probabilities, of rows of another task."""
    config = dataclasses.replace(read_config(run), task=TaskConfig(name="votes"))
    evaluate.evaluate(config, out, evaluate.NO_BUDGET, str(rows), RunDirectory(run))
    return probabilities(out / "answers" / "rows.jsonl")


@pytest.fixture(scope="module")
def answers(finished, rows, tmp_path_factory):
    return run_asked(finished, rows, tmp_path_factory.mktemp("asked") / "out")


def test_the_export_is_merged(finished, rows, answers, tiny_folder, tmp_path):
    assert main.main(["export", str(finished), str(tmp_path / "out"), "--shard-mb=1"]) == 0
    assert (tmp_path / "out" / export.HEAD).exists()
    got = asked(tmp_path / "out", rows, tmp_path / "eval")
    np.testing.assert_allclose(got, answers, atol=1e-5)
    bare = asked(tiny_folder, rows, tmp_path / "bare")
    assert np.abs(bare - answers).max() > 1e-3


def test_pefts_files_out_and_in_again(finished, config, rows, answers, tiny_folder, tmp_path):
    out = tmp_path / "out"
    assert main.main(["export", str(finished), str(out), "--format=peft"]) == 0
    assert {p.name for p in out.iterdir()} == {peft.CONFIG, peft.TENSORS, export.HEAD, "README.md"}
    a = config.adapter
    flags = [
        f"--config.adapter.{name}={getattr(a, name)}" for name in ("kind", "rank", "alpha", "targets", "first_layer")
    ]
    got = asked(tiny_folder, rows, tmp_path / "eval", *flags, f"--config.adapter.path={out}")
    np.testing.assert_allclose(got, answers, atol=1e-6)
    hashes = json.loads((tmp_path / "eval" / "provenance.json").read_text())["model"]["sha256"]
    assert set(hashes) == {"model.safetensors", peft.TENSORS}


def test_dora_beside_int8(config, rows, tmp_path, capsys):
    """Trained, loaded again, and merged into what the codes stand for."""
    changed = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, quantize="int8"),
        adapter=dataclasses.replace(config.adapter, kind="dora"),
        train=TrainConfig(steps=2),
    )
    train.train(changed, tmp_path / "r")
    _, params = saved(tmp_path / "r", changed)
    assert set(params["adapters"]["layers"]["mlp"]["down"]) == {"a", "b", "magnitude"}
    assert main.main(["export", str(tmp_path / "r"), str(tmp_path / "out")]) == 0
    assert "rounded to int8" in capsys.readouterr().out
    want = run_asked(tmp_path / "r", rows, tmp_path / "a")
    np.testing.assert_allclose(asked(tmp_path / "out", rows, tmp_path / "b"), want, atol=1e-5)


def test_a_run_without_adapters_has_none_to_export(tiny_folder, tmp_path):
    (tmp_path / "r").mkdir()
    save(Config(model=ModelConfig(path=str(tiny_folder))), tmp_path / "r" / "config.json")
    with pytest.raises(UserError, match="has no adapter; leave out --format=peft"):
        publish.write_adapter(tmp_path / "r", tmp_path / "out", None)


POLICY = tiny.model(tiny.spec(), adapter=AdapterConfig(kind="lora", rank=4, alpha=8.0, targets="q_proj|up_proj"))


@pytest.fixture
def files(tmp_path):
    """An adapter as we write it; change it, and read it again."""
    leaves = flat(tiny.params(POLICY)["adapters"])
    peft.save(lambda path: np.asarray(leaves[path]), POLICY.spec, POLICY.adapter, "base", tmp_path, "float32")
    return tmp_path


def read(folder, **changes):
    model = tiny.model(POLICY.spec, adapter=dataclasses.replace(POLICY.adapter, **changes))
    return peft.load(folder, model.spec, model.adapter, api.abstract_params(model)["adapters"])


def test_what_was_written_is_read(files):
    jax.tree.map(np.testing.assert_array_equal, read(files), tiny.params(POLICY)["adapters"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 2}, r"config.adapter.rank=2, but .*adapter_config.json says 4; set --config.adapter.rank=4"),
        ({"alpha": 4.0}, "config.adapter.alpha=4.0, but .* says 8.0"),
        ({"scaling": "sqrt_rank"}, "config.adapter.scaling='sqrt_rank', but .* says 'rank'"),
        ({"kind": "dora"}, "config.adapter.kind='dora', but .* says 'lora'"),
        ({"targets": ".*"}, r"tensor 'base_model.model.model.layers.0.mlp.down_proj.lora_A.weight' is missing, and 29"),
        (
            {"first_layer": 1},
            r"layers.0.mlp.up_proj.lora_A.weight' has no place, and 3 more; set --config.ad",
        ),
    ],
)
def test_settings_that_contradict_the_files(files, changes, message):
    with pytest.raises(UserError, match=message):
        read(files, **changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "LOHA"), ("bias", "all"), ("modules_to_save", ["lm_head"]), ("layer_replication", [[0, 2]]),
        ("rank_pattern", {"q_proj": 8}), ("init_lora_weights", "pissa"), ("of_tomorrow", 1), ("fan_in_fan_out", True),
        ("lora_bias", True),
    ],
)  # fmt: skip
def test_what_is_not_computed_here_is_refused_by_name(files, field, value):
    said = json.loads((files / peft.CONFIG).read_text())
    (files / peft.CONFIG).write_text(json.dumps(said | {field: value}))
    with pytest.raises(UserError, match=f"adapter_config.json: {field}="):
        read(files)


def test_a_missing_file_is_named(files):
    (files / peft.TENSORS).unlink()
    with pytest.raises(UserError, match="adapter_model.safetensors: no such file"):
        read(files)


@pytest.mark.parametrize(("first", "said"), [(0, None), (1, [1, 2])])
def test_the_files_say_which_layers_have_adapters(tmp_path, first, said):
    """Without it PEFT would expect them in all of the three layers."""
    model = tiny.model(POLICY.spec, adapter=dataclasses.replace(POLICY.adapter, first_layer=first))
    leaves = flat(tiny.params(model)["adapters"])
    peft.save(lambda path: np.asarray(leaves[path]), model.spec, model.adapter, "base", tmp_path, "float32")
    assert json.loads((tmp_path / peft.CONFIG).read_text())["layers_to_transform"] == said
    with safe_open(tmp_path / peft.TENSORS, "np") as file:
        layers = {int(re.search(r"layers\.(\d+)\.", name)[1]) for name in file.keys()}  # noqa: SIM118
    assert layers == set(said or range(3))
