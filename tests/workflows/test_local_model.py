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
from moral_jax.runs.directory import RunDirectory
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.train.manifest import Progress
from moral_jax.types import TrainState
from moral_jax.workflows import export, local_model
from tests.helpers import tiny

BEST, LAST = 1, 2  # steps of a run whose second validation was worse


@pytest.fixture(params=[("best", BEST), ("last", LAST)], ids=["best", "last"])
def run(request, tiny_folder, tmp_path):
    """A run's config and checkpoints of two steps; its directory, config, and the weights that it stands for."""
    select, step = request.param
    config = dataclasses.replace(tiny.run_config(tiny_folder), train=TrainConfig(select=select))
    model = local_model.find_model(config).model
    weights = {step: tiny.params(model, seed=step) for step in (BEST, LAST)}
    folder = tmp_path / "run"
    folder.mkdir()
    saved.save(config, folder / "config.json")
    with Checkpoints(folder / "checkpoints", {"config": dataclasses.asdict(config)}) as checkpoints:
        for number, params in weights.items():
            state = TrainState(jnp.int32(number), params, {"m": jnp.zeros(())})
            checkpoints.save(state, Progress(step=number, validated=number, best_step=BEST))
    return folder, config, weights[step]


def test_a_run_stands_for_the_step_that_it_selects(run, tmp_path):
    folder, config, weights = run
    initial = local_model.InitialParams(config, local_model.find_model(config))
    with Checkpoints(folder / "checkpoints") as checkpoints:
        scored = local_model.selected_params(config, initial, checkpoints)
    want = api.cast_for_scoring(weights, initial.files.model)
    jax.tree.map(np.testing.assert_array_equal, scored, want)
    export.write(folder, tmp_path / "out", shard_mb=64, dtype=None)
    [file] = (tmp_path / "out").glob("model-*.safetensors")
    exported = load_file(file)["model.norm.weight"]
    np.testing.assert_array_equal(exported, weights["decoder"]["final_norm"]["scale"])


def test_what_is_recorded_of_a_run_is_the_step_that_it_selects(run):
    folder, config, _ = run
    about = local_model.about_run(lambda: {"settings_sha256": {}}, config, RunDirectory(folder))
    step = BEST if config.train.select == "best" else LAST
    assert list(about["settings_sha256"]) == [f"checkpoints/{step}"]


@pytest.mark.parametrize(("remat", "given", "unroll"), [("none", None, "all"), ("dots", None, 1), ("dots", 2, 2)])
def test_layers_that_are_computed_again_stay_in_a_loop(tiny_folder, remat, given, unroll):
    """Side by side, XLA on CPU merges the second computation with the first, and as much is kept as without."""
    config = tiny.run_config(tiny_folder)
    changed = dataclasses.replace(config, model=dataclasses.replace(config.model, remat=remat, unroll=given))
    model = local_model.find_model(changed).model
    assert model.compute.unroll == (model.spec.layers if unroll == "all" else unroll)
