"""From a run directory to a folder that transformers loads: `moral-jax export`."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from moral_jax import run
from moral_jax.config import Config, MeshConfig
from moral_jax.experiment import Model, find_model
from moral_jax.models import api
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.types import UserError
from moral_jax.weights import export, load


def _anywhere(config: Config) -> Config:
    """The same run on whatever machine this is: nothing is computed, weights only pass through."""
    return dataclasses.replace(config, mesh=MeshConfig(), model=dataclasses.replace(config.model, attention="plain"))


@contextlib.contextmanager
def _trained(folder: Path, config: Config, model: Model) -> Iterator[export.Read]:
    """Reads parameters from the checkpoint that the run stands for."""
    with Checkpoints(folder / "checkpoints") as checkpoints:
        step = checkpoints.chosen(config.train.keep)
        yield lambda path: checkpoints.restore_param(step, path)


@contextlib.contextmanager
def _untrained(folder: Path, config: Config, model: Model) -> Iterator[export.Read]:
    """Reads parameters from the model that the run only scored."""
    like = api.abstract_params(model.policy)["decoder"]
    loaders = load.parameters(model.path, model.policy.spec, like, config.model.load_piece_mb << 20)
    yield lambda path: np.asarray(loaders[path.removeprefix("decoder/")]())


def write(folder: Path, out: Path, shard_mb: int, dtype: str | None) -> str:
    """Writes the weights that a run stands for, with config and tokenizer, to `out`: whole, or nothing.

    Args:
      folder: the run.
      out: a new or empty directory.
      shard_mb: largest weight file, MiB.
      dtype: float32 or bfloat16; None: that of the run's weights.

    Returns:
      What was written, in words.

    Raises:
      UserError: `folder` holds no run, or `out` something.
    """
    if shard_mb < 1:
        raise UserError(f"--shard-mb={shard_mb}: expected at least 1")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is not empty; name a new directory")
    config = _anywhere(run.read_config(folder))
    model, dtype = find_model(config), dtype or config.model.param_dtype
    spec, like = model.policy.spec, api.abstract_params(model.policy)
    is_trained = (folder / "checkpoints").exists()
    reader = _trained if is_trained else _untrained
    with reader(folder, config, model) as read, export.new_folder(out) as new:
        export.write_config(load.read_config(model.path), spec, new, dtype)
        export.write_tokenizer(model.tokenizer, new)
        files = export.write_weights(
            lambda path: read(f"decoder/{path}"), spec, like["decoder"], new, dtype, shard_mb << 20
        )
        said = f"{out}: {files} files of {dtype} weights, config and tokenizer"
        if is_trained and like["head"]:
            export.write_head({path: read(f"head/{path}") for path in like["head"]}, new)
            said += f". Its concentration head, for which transformers has no place, is in {export.HEAD}"
    return said
