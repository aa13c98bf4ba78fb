"""A run directory, whoever answered. No jax.

RUN/config.json       the config that it was started with
RUN/provenance.json   data, weights, versions, device: `runs.origin`
RUN/run.json          the names of its stages, in order
RUN/STAGE/            SPLIT.jsonl (records) and metrics.json of one stage: initial, trained, or answers
RUN/checkpoints/      what training has saved
RUN/metrics.jsonl     the log of training
RUN/rollouts/         what the model wrote in reinforcement learning: `runs.rollouts`
RUN/report.html, .md  the page
"""

import contextlib
import dataclasses
import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

import moral_jax
from moral_jax.config import Config, saved
from moral_jax.runs.origin import PROVENANCE
from moral_jax.runtime import files, places, strict_json
from moral_jax.runtime.console import info
from moral_jax.types import UserError

CONFIG, RUN, LOCK = "config.json", "run.json", "lock"
# The stages that there are: the model before training, after it, and a respondent that is not trained here.
INITIAL, TRAINED, ANSWERS = "initial", "trained", "answers"
BEGUN = {LOCK, CONFIG + files.PARTIAL}  # what there may be of a run that was killed before it had a config
VERSION_0_1 = {"before": INITIAL, "after": TRAINED}  # how version 0.1 called the folders of stages


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The paths of a run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Where training saves."""
        return self.path / "checkpoints"

    @property
    def profile(self) -> Path:
        """Where a profiler trace goes."""
        return self.path / "profile"

    @property
    def is_trained(self) -> bool:
        """True if the run stands for what it has trained, even where its first checkpoint is still to come."""
        return self.checkpoints.exists() or TRAINED in stages(self.path)

    def stage(self, name: str) -> Path:
        """Returns the folder of a stage."""
        return self.path / name


@contextlib.contextmanager
def claim(config: Config, workdir: Path, stages: Sequence[str]) -> Iterator[RunDirectory]:
    """Makes the run directory, or accepts one that holds the same config, and keeps it for this process alone.

    Args:
      stages: the names of all stages that the run will have.

    Raises:
      UserError: the directory holds a run of another config (shows the difference), or something else, or another
        process works in it.
    """
    places.check_workdir(workdir)
    _check(config, workdir)  # before anything is written there
    with files.storage_errors(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        try:
            if locks.enter_context(files.lock(workdir / LOCK)) is None:
                raise UserError(
                    f"{workdir}: {files.owner(workdir / LOCK)} works here already; wait until it has ended, or pass "
                    f"--workdir=ANOTHER"
                )
        except OSError as e:
            if e.errno in files.REMEDIES:
                raise files.storage_error(e, workdir / LOCK) from e
            info(f"{workdir}: this disk keeps no locks ({e}): make sure that no other process uses this directory")
        files.remove_partial(workdir)
        goes_on = _check(config, workdir)  # again: another process may have begun here since
        if goes_on:
            info(f"resuming {workdir}")
            _move_stages_of_version_0_1(workdir, stages)
        else:
            saved.save(config, workdir / CONFIG)
        files.write_json(workdir / RUN, {"stages": list(stages)})
        try:
            yield RunDirectory(workdir)
        except UserError:
            if not goes_on:
                _forget(workdir)
            raise


def _forget(workdir: Path) -> None:
    """Empties the directory of a run that was refused before it had done anything: the next try may have another
    config.
    """
    if not {path.name for path in workdir.iterdir()} - {*BEGUN, CONFIG, RUN}:
        for name in (RUN, CONFIG):
            (workdir / name).unlink(missing_ok=True)


def _check(config: Config, workdir: Path) -> bool:
    """Returns whether a directory holds this run already; raises if it holds anything else."""
    if (workdir / CONFIG).exists():
        if changed := saved.difference(saved.read(workdir / CONFIG), config):
            lines = "\n  ".join(changed)
            raise UserError(f"{workdir} holds a run of another config. Pass --workdir=ANOTHER, or undo:\n  {lines}")
        return True
    if workdir.exists() and (not workdir.is_dir() or {p.name for p in workdir.iterdir()} - BEGUN):
        raise UserError(f"{workdir} is not empty and holds no run (no {CONFIG}); pass --workdir=ANOTHER")
    return False


def _move_stages_of_version_0_1(workdir: Path, stages: Sequence[str]) -> None:
    """Renames the folders of a run that version 0.1 began."""
    for old, new in VERSION_0_1.items():
        target = workdir / (new if new in stages else ANSWERS)
        if (workdir / old).is_dir() and not target.exists():
            with files.storage_errors(target):
                (workdir / old).rename(target)


def stages(folder: Path) -> dict[str, Path]:
    """Returns the folder of each stage of a run by name, in order; also of runs and evaluations of version 0.1."""
    if (folder / RUN).exists():
        names = strict_json.read(folder / RUN).get("stages")
        if not isinstance(names, list) or not all(name in (INITIAL, TRAINED, ANSWERS) for name in names):
            raise UserError(
                f"{folder / RUN}: stages={strict_json.shown(names)}: expected a list of {INITIAL}, {TRAINED} or "
                f"{ANSWERS}; put back what the run wrote"
            )
        return {name: folder / name for name in names}
    found = {new: folder / old for old, new in VERSION_0_1.items() if (folder / old).is_dir()}
    if list(found) == [TRAINED] and not (folder / "checkpoints").exists():  # a baseline, or a model behind an API
        return {ANSWERS: found[TRAINED]}
    return found or {ANSWERS: folder}


def is_run(folder: Path) -> bool:
    """Returns true for a run directory; a model's folder has a config.json too, but none of the others."""
    beside = (RUN, PROVENANCE, "checkpoints")
    return (folder / CONFIG).exists() and any((folder / name).exists() for name in beside)


def read_config(folder: Path) -> Config:
    """Reads the config of a run directory."""
    if not (folder / CONFIG).exists():
        raise UserError(f"{folder}: holds no run (no {CONFIG})")
    return saved.read(folder / CONFIG)


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Returns the versions of moral_jax, of Python, and of the libraries that the numbers depend on."""
    ours = {"moral_jax": moral_jax.__version__, "python": platform.python_version()}
    return ours | {name: metadata.version(name) for name in libraries}
