"""From a run directory to a folder that transformers loads: `moral-jax export`."""

import contextlib
import dataclasses
import functools
import operator
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from moral_jax.config import Config
from moral_jax.config.model import MeshConfig
from moral_jax.models import adapters, api, parameters, quantize
from moral_jax.respondents.encode import ModelFiles
from moral_jax.runs import origin
from moral_jax.runs.directory import RunDirectory, read_config
from moral_jax.runtime import distributed, places
from moral_jax.tasks import registry
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.types import Array, Params, UserError
from moral_jax.weights import export, load, peft
from moral_jax.weights.licence import README
from moral_jax.workflows import earlier, provenance
from moral_jax.workflows.local_model import InitialParams, find_model


def _anywhere(config: Config) -> Config:
    """The same run on whatever machine this is: nothing is computed, weights only pass through."""
    return dataclasses.replace(config, mesh=MeshConfig(), model=dataclasses.replace(config.model, attention="plain"))


def _found(folder: Path) -> tuple[RunDirectory, Config, ModelFiles]:
    """Returns a run with its config and its model's files, which must be those that it stands for."""
    run, config = RunDirectory(folder), _anywhere(read_config(folder))
    files = find_model(config, began=origin.read(folder))
    provenance.check_model(config, files, run, lambda: provenance.about_model(config, files))
    return run, config, files


@contextlib.contextmanager
def _trained(run: RunDirectory) -> Iterator[export.Read]:
    """Reads parameters from the checkpoint that the run stands for: those that were trained."""
    with Checkpoints(run.checkpoints) as checkpoints:
        step = checkpoints.chosen(read_config(run.path).train.select)
        earlier.check_checkpoint(checkpoints, step)
        yield lambda path: checkpoints.restore_param(step, path)


def _until_preempted(read: export.Read) -> export.Read:
    """The same, asking before each parameter whether the work is to end."""

    def polled(path: str) -> np.ndarray:
        distributed.leave_if_preempted("while exporting, and nothing of it is left")
        return read(path)

    return polled


def _untrained(config: Config, files: ModelFiles) -> export.Read:
    """Reads parameters from the model on disk, quantised where the run quantises them. Those that it rounds for its
    products alone stay precise."""
    model = files.model
    like = api.abstract_loaded(model, trained=True)
    if config.model.run is None:
        piece_bytes = config.model.load_piece_mb << 20
        loaders = load.parameters(files.path, model.spec, like, piece_bytes, model.frozen_layers)
        leaf_of = lambda path: api.quantize_or_cast(loaders[path](), path, model)  # noqa: E731
    else:  # adapters that lie beside what a run before has trained
        leaf_of = functools.partial(_leaf, InitialParams(config, files).backbone())

    def read(path: str) -> np.ndarray:
        leaf = leaf_of(path)
        return np.asarray(quantize.restored(leaf, "float32") if isinstance(leaf, dict) else leaf)

    return read


def _leaf(tree: Params, path: str) -> Array | Params:
    return functools.reduce(operator.getitem, path.split("/"), tree)


def _merged(base: export.Read, trained: export.Read, model: api.Model) -> export.Read:
    """Reads what a frozen backbone and its adapters are together."""
    adapted = {entry.path for entry in adapters.entries(model.spec, model.adapter)}

    def read(path: str) -> np.ndarray:
        if path not in adapted:
            return base(path)
        where = f"adapters/{path.removesuffix('kernel')}"
        adapter = {leaf: trained(where + leaf) for leaf in adapters.leaves(model.adapter)}
        return np.asarray(adapters.merged(base(path), adapters.scaled(adapter, model.adapter)))

    return read


def _exported(trained: export.Read, backbone: export.Read, model: api.Model) -> export.Read:
    """Reads a trained run's backbone and score head; arguments read what was trained, and the whole backbone."""

    def read(path: str) -> np.ndarray:
        if path == "score/bias" and model.score_rows == 1:
            return np.zeros(1, np.float32)  # transformers has one, which is the same for all options
        return trained(path) if path.startswith("score/") else backbone(path)

    return read


def _shapes(model: api.Model) -> Params:
    """Of all that is exported."""
    score = api.abstract_params(model).get("score", {})
    bias = {"bias": jax.ShapeDtypeStruct((model.score_rows,), "float32")} if score else {}
    return api.abstract_loaded(model, trained=True) | {"score": score | bias}


def _labels(config: Config, model: api.Model) -> tuple[str, ...]:
    """Names of the score head's rows."""
    if config.model.head == "classes":
        return registry.get(config.task.name).classes or ()
    return ("score",) if model.score_rows else ()


def _check_new(out: Path) -> None:
    places.check_local("the directory", out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is not empty; name a new directory")


def write(folder: Path, out: Path, shard_mb: int, dtype: str | None, card: str | None = None) -> str:
    """Writes the weights that a run stands for, with config and tokenizer, to `out`: whole, or nothing. Adapters are
    merged into the weights beside which they were trained.

    Args:
      folder: the run.
      out: a new or empty directory.
      shard_mb: largest weight file, MiB.
      dtype: float32 or bfloat16; None: that of the run's weights.
      card: of the run, to lie beside the weights; None: no card.

    Returns:
      What was written, in words.

    Raises:
      UserError: `folder` holds no run, or `out` something.
    """
    if shard_mb < 1:
        raise UserError(f"--shard-mb={shard_mb}: expected at least 1")
    _check_new(out)
    run, config, files = _found(folder)
    model, dtype, is_trained = files.model, dtype or config.model.param_dtype, run.is_trained
    if config.adapter.path and not is_trained:
        raise UserError(f"{folder}: trained nothing; its adapters are still those in {config.adapter.path}")
    if model.score_rows and not is_trained:
        raise UserError(f"{folder}: trained nothing; its score head is as new, and its model is {config.model.path}")
    with contextlib.ExitStack() as opened:
        read = base = _untrained(config, files)
        if is_trained:
            trained = opened.enter_context(_trained(run))
            whole = _merged(base, trained, model) if model.frozen else lambda path: trained(f"{model.backbone}/{path}")
            read = _exported(trained, whole, model)
        new = opened.enter_context(export.new_folder(out))
        export.write_config(load.read_config(files.path), model.spec, _labels(config, model), new, dtype)
        export.write_tokenizer(files.tokenizer, new)
        entries = parameters.exported(model.spec, model.score_rows, model.frozen_layers)
        count = export.write_weights(_until_preempted(read), entries, _shapes(model), new, dtype, shard_mb << 20)
        said = f"{out}: {count} files of {dtype} weights, config and tokenizer"
        if model.quantize != "none":
            said += f". They are those that the run computed with: its model's, rounded to {model.quantize}"
        return said + (_write_head(trained, model, new) if is_trained else "") + _write_card(card, new)


def _write_card(card: str | None, folder: Path) -> str:
    if card is None:
        return ""
    (folder / README).write_text(card, encoding="utf-8")
    return f". The card is in {README}"


def _write_head(trained: export.Read, model: api.Model, folder: Path) -> str:
    names = api.abstract_params(model)["head"]
    if not names:
        return ""
    export.write_head({name: trained(f"head/{name}") for name in names}, folder)
    return f". Its concentration head, for which transformers has no place, is in {export.HEAD}"


def write_adapter(folder: Path, out: Path, dtype: str | None, card: str | None = None) -> str:
    """Writes a run's adapters, which PEFT loads beside the run's model, to `out`: whole, or nothing.

    Args and errors as of `write`; the numbers are float32, if `dtype` does not say otherwise.
    """
    _check_new(out)
    if read_config(folder).adapter.kind == "none":
        raise UserError(f"{folder}: trained all weights and has no adapter; leave out --format=peft")
    run, config, files = _found(folder)
    model, dtype = files.model, dtype or "float32"
    if model.score_rows:
        raise UserError(f"{folder}: has a score head, which has no place in PEFT's files; leave out --format=peft")
    if not InitialParams(config, files).is_beside_files:
        raise UserError(
            f"{folder}: its adapters lie beside weights that {config.model.path} has trained, which PEFT cannot name; "
            f"leave out --format=peft, and they are merged"
        )
    with _trained(run) as read, export.new_folder(out) as new:
        base = earlier.root(config, {}).path
        adapters_of = _until_preempted(lambda path: read(f"adapters/{path}"))
        peft.save(adapters_of, model.spec, config.adapter, base, new, dtype)
        said = f"{out}: {dtype} adapters of {base}"
        return said + _write_head(read, model, new) + _write_card(card, new)
