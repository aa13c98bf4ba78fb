"""The runs that another one begins with: `config.model.path=run:DIR`, whose own model may be a run again.

Nothing is loaded here. A run stands for a checkpoint, which must be there and finished; what lies in front of the first
run are a model's own files. Runs that were told to train nothing stand for the model that they name.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from moral_jax.config import Config, saved
from moral_jax.runs import origin
from moral_jax.runs.directory import RunDirectory, read_config
from moral_jax.runtime import distributed
from moral_jax.train import manifest
from moral_jax.train.checkpoint import Checkpoints
from moral_jax.types import Params, UserError


class Earlier(NamedTuple):
    """A finished run, and the checkpoint that it stands for."""

    run: RunDirectory
    config: Config
    step: int
    sha256: str  # of the checkpoint

    @property
    def name(self) -> str:
        """What provenance calls the checkpoint, wherever the run lies."""
        return f"{self.run.path.resolve().name}/checkpoints/{self.step}"


class Root(NamedTuple):
    """Where the files of a model are named, in front of all runs."""

    path: str
    tokenizer: str | None
    began: origin.Provenance  # of the run that names them


def trained_of(run: RunDirectory, config: Config) -> dict[str, Any]:
    """Returns what tells the weights that a finished run stands for from others: their step and SHA-256.

    Raises:
      UserError: the run has not finished.
    """
    steps = manifest.steps(run.checkpoints)
    latest = manifest.read(run.checkpoints, steps[-1]) if steps else None
    if latest is None or not latest.progress.finished:
        reached = f"its last checkpoint is of step {steps[-1]}" if steps else "it has no checkpoint yet"
        raise UserError(f"{run.path}: has not finished training ({reached}); start it again to go on")
    best = latest.progress.best_step
    step = steps[-1] if config.train.select == "last" or best is None else best
    return {"step": step, "sha256": manifest.digest(manifest.read(run.checkpoints, step).checksums)}


def _runs(config: Config) -> Iterator[tuple[RunDirectory, Config]]:
    """Yields the runs that a config begins with, the nearest first.

    Raises:
      UserError: a directory holds no run, or one that begins with itself.
    """
    seen = set()
    while (folder := config.model.run) is not None:
        if (place := folder.resolve()) in seen:
            raise UserError(f"config.model.path=run:{folder}: this run begins with itself; name another")
        seen.add(place)
        run, config = RunDirectory(folder), read_config(folder)
        yield run, config


def find(config: Config) -> Earlier | None:
    """Returns the run whose trained weights a config begins with; None if it begins with a model's own files.

    Raises:
      UserError: the run has not finished, or is no model at all.
    """
    for run, of_run in _runs(config):
        if of_run.respondent.kind != "local":
            raise UserError(
                f"config.model.path=run:{run.path}: is a run of {of_run.respondent.name}, which has no weights"
            )
        if of_run.trains:
            return Earlier(run, of_run, **trained_of(run, of_run))
        if of_run.adapter.path:
            raise UserError(
                f"config.model.path=run:{run.path}: trained nothing, and its adapters are still those in "
                f"{of_run.adapter.path}; name its model and config.adapter.path instead"
            )
    return None


def root(config: Config, began: origin.Provenance) -> Root:
    """Returns where the files of a config's model are named, and by which tokenizer.

    Args:
      began: the provenance of the run itself, if it goes on.
    """
    path, words = config.model.path, config.model.tokenizer
    for run, of_run in _runs(config):
        path, words, began = of_run.model.path, words or of_run.model.tokenizer, origin.read(run.path)
    return Root(path, words, began)


def chain(config: Config) -> Iterator[Earlier]:
    """Yields all runs that trained what a config begins with, the nearest first."""
    while (found := find(config)) is not None:
        yield found
        config = found.config


def hashes(config: Config) -> dict[str, str]:
    """Returns the SHA-256 of the checkpoints that a config's weights are made of, by name."""
    return {found.name: found.sha256 for found in chain(config)}


def restored(found: Earlier, like: Params) -> Params:
    """Returns trained parameters of a run, with the types and shardings of `like`.

    Raises:
      UserError: the checkpoint is of another run.
      StorageError: it is damaged.
    """
    with Checkpoints(found.run.checkpoints) as checkpoints:
        check_checkpoint(checkpoints, found.step)
        return checkpoints.restore_params(found.step, like)


def check_checkpoint(checkpoints: Checkpoints, step: int) -> None:
    """Refuses a checkpoint of another run: of another config than the run's, or trained from other files."""
    about, run = checkpoints.read_manifest(step).about, checkpoints.folder.parent
    where = f"{checkpoints.folder}/{step}"

    def differences() -> list[str]:
        found = saved.difference(saved.parse(about["config"], f"{where}.json"), read_config(run))
        if began := origin.read(run):
            older = {"model.sha256": about["weights"]} if "weights" in about else {}
            hashes = about.get("hashes", older)
            if other := origin.changed(hashes, origin.hashes_of(began)):
                found.append("{}: {} -> {}".format(*other))
        return found

    if found := distributed.from_primary(differences):
        lines = "\n  ".join(found)
        raise UserError(
            f"{where}: is a checkpoint of another run. Put this run's own checkpoints back, or remove "
            f"{checkpoints.folder} to train from the beginning. What differs, there and here:\n  {lines}"
        )
