"""Which weights a finished run stands for: those that are scored, and those that are exported."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from moral_jax.config import saved
from moral_jax.config.train import TrainConfig
from moral_jax.models import api
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.train.manifest import Progress
from moral_jax.types import TrainState
from moral_jax.workflows import export, local_model
from tests.helpers import tiny

BEST, LAST = 1, 2  # steps of a run whose second validation was worse


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory):
    """Checkpoints of two steps with weights of their own."""
    config = dataclasses.replace(tiny.run_config(tiny_folder), train=TrainConfig(select="best"))
    model = local_model.find_model(config).model
    weights = {step: tiny.params(model, seed=step) for step in (BEST, LAST)}
    folder = tmp_path_factory.mktemp("run")
    with Checkpoints(folder / "checkpoints", {"config": dataclasses.asdict(config)}) as checkpoints:
        for step, params in weights.items():
            state = TrainState(jnp.int32(step), params, {"m": jnp.zeros(())})
            checkpoints.save(state, Progress(step=step, validated=step, best_step=BEST))
    return config, folder, weights


@pytest.mark.parametrize(("select", "step"), [("best", BEST), ("last", LAST)])
def test_a_run_stands_for_the_step_that_it_selects(trained, tmp_path, select, step):
    config, folder, weights = trained
    config = dataclasses.replace(config, train=TrainConfig(select=select))
    initial = local_model.InitialParams(config, local_model.find_model(config))
    with Checkpoints(folder / "checkpoints") as checkpoints:
        scored = local_model.selected_params(config, initial, checkpoints)
    want = api.cast_for_scoring(weights[step], initial.files.model)
    jax.tree.map(np.testing.assert_array_equal, scored, want)
    run = tmp_path / "run"
    run.mkdir()
    saved.save(config, run / "config.json")
    (run / "checkpoints").symlink_to(folder / "checkpoints")
    export.write(run, tmp_path / "out", shard_mb=64, dtype=None)
    [file] = (tmp_path / "out").glob("model-*.safetensors")
    exported = load_file(file)["model.norm.weight"]
    np.testing.assert_array_equal(exported, weights[step]["decoder"]["final_norm"]["scale"])
