"""Ready configs: each trains for two steps with its `tiny` preset, and every preset builds."""

import json
from pathlib import Path

import pytest

from moral_jax.config import build, default, parsing, presets
from moral_jax.models.rope import Llama3Scaling
from moral_jax.types import UserError
from moral_jax.workflows import train
from tests.helpers import tiny

ROOT = Path(__file__).resolve().parents[2]
READY = sorted(p for p in (ROOT / "configs").rglob("*.py") if "presets.apply" in p.read_text())
LIKE = {  # what sets each family apart, made small
    "mistral_7b": {"family": "mistral", "tied_embeddings": False},
    "zephyr_7b": {"family": "mistral", "tied_embeddings": False, "sliding_window": 64},
    "llama_3_1_8b": {"tied_embeddings": False, "rope_scaling": Llama3Scaling(8.0, 1.0, 4.0, 128)},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tiny model of each family; with more layers, programs take longer to compile."""
    return {n: tiny.write_folder(tmp_path_factory.mktemp(n), layers=1, **changes) for n, changes in LIKE.items()}


def write_rows(path: Path, task: str) -> Path:
    """Made-up rows in the released schema."""
    rows = []
    for i in range(24):
        if task == "dilemmas":
            actions = [{"id": f"{i}-{side}", "description": f"doing {side} thing {i}"} for side in ("one", "another")]
            rows.append({"id": f"r{i}", "actions": actions, "gold_annotations": [i % 6, 5 - i % 6],
                         "human_perf_annotations": [2, 3]})  # fmt: skip
        else:
            scores = {"AUTHOR": i % 4, "OTHER": 3, "EVERYBODY": 1, "NOBODY": 2, "INFO": i % 2}
            rows.append({"id": f"r{i}", "title": f"AITA for thing {i}?", "text": "I did it. " * 9, "action": None,
                         "label_scores": scores, "binarized_label_scores": {"RIGHT": 2, "WRONG": 4}})  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("file", READY, ids=lambda p: p.stem)
def test_every_ready_config_trains(file, folders, tmp_path):
    model, task = file.stem.rsplit("_", 1)
    rows = write_rows(tmp_path / "rows.jsonl", task)
    folder = folders[model.removesuffix("_instruct")]
    flags = {"config": f"{file}:tiny", "config.model.path": folder, "config.model.unroll": 1, "config.task.path": rows}
    config = parsing.from_flags([f"--{name}={value}" for name, value in flags.items()])
    assert config.prompt.format_for(config.model.head) == ("plain" if model == "llama_3_1_8b" else "chat")
    train.train(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2]
    assert (tmp_path / "run" / "report.html").exists()


def test_there_is_a_ready_config_for_every_model_and_task():
    assert len(READY) == 4 * 2


@pytest.mark.parametrize("preset", presets.PRESETS)
def test_every_preset_builds(preset):
    built = parsing.from_flags([f"--config={READY[0]}:{preset}"])
    assert built != build(default())
    assert built.data.micro_batch_size <= built.data.batch_size


def test_presets_of_one_gpu_train_adapters_at_ten_times_the_rate():
    """Of whatever config; eight GPUs train all weights."""
    for name in ("scruples/mistral_7b_dilemmas", "preferences/dpo"):
        one, small, eight = (parsing.from_flags([f"--config={name}:gpu-{g}"]) for g in ("80gb", "24gb", "80gb-8"))
        assert (one.adapter.kind, one.model.quantize, one.optim.lr) == ("lora", "none", 10 * eight.optim.lr)
        assert (small.adapter.kind, small.model.quantize, small.optim.lr) == ("lora", "nf4", 10 * eight.optim.lr)
        assert (eight.adapter.kind, eight.model.param_dtype) == ("none", "float32")


@pytest.mark.parametrize("name", ["text/sft", "preferences/dpo", "preferences/reward", "rl/grpo", "rl/ppo"])
def test_configs_of_any_model_take_a_preset_if_one_is_asked_for(name):
    bare, pod = (parsing.from_flags([f"--config={ROOT / 'configs' / name}.py{preset}"]) for preset in ("", ":v5e-16"))
    assert (bare.model.remat, bare.data.length) != (pod.model.remat, pod.data.length) == ("full", 2048)
    assert bare.objective == pod.objective


def test_a_preset_that_is_none_is_named():
    with pytest.raises(UserError, match="preset 'v9': expected one of v5e-16"):
        parsing.from_flags([f"--config={READY[0]}:v9"])
    with pytest.raises(UserError, match="has no presets; leave out ':tiny'"):
        parsing.from_flags([f"--config={ROOT / 'configs' / 'demo.py'}:tiny"])


def test_the_run_of_a_preset_has_a_name_of_its_own():
    assert parsing.run_name("configs/demo.py") == "demo"
    assert parsing.run_name(f"{READY[0]}:tiny") == f"{READY[0].stem}-tiny"
