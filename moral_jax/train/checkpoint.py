"""Checkpoints of the training state without frozen weights: the latest, the best, and those to keep for good.

`save` computes checksums on the devices and lets Orbax write in the background. A thread of the primary then reads the
arrays back, compares their checksums, and writes the manifest of the step. A step counts once it has a manifest, and
only then are older steps removed. That is why we use Orbax's checkpointer and not its manager, which removes earlier.
`restore` compares the checksums once more. If a step is damaged, the primary reads its arrays one by one to name the
damaged one.
"""

import concurrent.futures
import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from moral_jax import sharding
from moral_jax.runtime import distributed
from moral_jax.train import checksum, manifest
from moral_jax.train.manifest import Manifest, Progress
from moral_jax.types import Array, Params, StorageError, TrainState, UserError

Leaves = dict[str, Array]  # by path: "params/decoder/...", "opt_state/..."
READ_AT_ONCE = 1 << 30  # bytes of a checkpoint that the primary holds in memory while it reads it back
# Orbax and TensorStore report damaged files and full disks through undocumented exception types, some of them bare
# Exception.
BROKEN = Exception
# Orbax measures how long a save takes by the wall clock, which may be changed by years meanwhile. So the limit is
# almost the longest time that threads can wait (292 years), and directories are not created in the background, which
# would add a wait with such a limit. Processes that have died are noticed without it.
ORBAX = ocp.options.AsyncOptions(timeout_secs=9 * 10**9, create_directories_asynchronously=False)


def _not_orbaxs_error(record: logging.LogRecord) -> bool:
    """Returns False for errors that Orbax logs with a traceback: it raises them too, and we report them in one line."""
    return record.levelno < logging.ERROR or f"{os.sep}orbax{os.sep}" not in record.pathname


def _flat(params: Params, opt_state: Any) -> Leaves:
    """Returns the leaves of parameters and optimizer state by path."""
    tree = {"params": params, "opt_state": opt_state}
    return {sharding.path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"


def _groups(leaves: Leaves) -> Iterator[list[str]]:
    """Yields names of leaves to read together: up to READ_AT_ONCE bytes, or a single larger leaf."""
    group: list[str] = []
    size = 0
    for name, leaf in leaves.items():
        leaf_bytes = leaf.size * leaf.dtype.itemsize
        if group and size + leaf_bytes > READ_AT_ONCE:
            yield group
            group, size = [], 0
        group.append(name)
        size += leaf_bytes
    yield group


class Checkpoints:
    """The checkpoints of a run: saves in the background, verifies, restores.

    Args:
      folder: the folder of all steps of the run.
      about: see `Manifest`; needed for saving.
      every: steps that are multiples of it are kept for good.
    """

    def __init__(self, folder: Path, about: dict[str, Any] | None = None, every: int | None = None):
        self.folder, self.about, self.every = folder.absolute(), about, every
        logging.getLogger("absl").addFilter(_not_orbaxs_error)
        self._checkpointer = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler(), async_options=ORBAX)
        alone = ocp.options.MultiprocessingOptions(active_processes={0}, barrier_sync_key_prefix="alone")
        self._alone = ocp.Checkpointer(
            ocp.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone
        )
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoints")
        self._pending: concurrent.futures.Future | None = None  # work of `_thread`, on the primary
        self._last: Manifest | None = None  # of the step that was saved or restored last

    def save(self, state: TrainState, progress: Progress) -> None:
        """Saves step `progress.step`. If it was saved or restored last, only its manifest is written anew.

        Raises:
          StorageError: this step cannot be written, or the one before could not.
        """
        self.wait()
        if self._last is not None and self.has(progress.step):
            self._last = dataclasses.replace(self._last, progress=progress)
            self._submit(self._write_manifest, self._last)
            return
        assert self.about is not None, "needed for saving"
        leaves = _flat(state.params, state.opt_state)
        meta = Manifest(progress, checksum.on_devices(leaves), self.about)
        shapes = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
        with self._writing(progress.step):
            self.folder.mkdir(parents=True, exist_ok=True)
            # force: a crash may have left files of this step without a manifest
            self._checkpointer.save(self._path(progress.step), args=ocp.args.PyTreeSave(leaves), force=True)
        self._last = meta
        self._submit(self._finish, meta, shapes)

    def _submit(self, work: Any, *arguments: Any) -> None:
        """Runs work on the thread, on the primary; does nothing on other processes."""
        if distributed.is_primary():
            self._pending = self._thread.submit(work, *arguments)

    def _finish(self, meta: Manifest, shapes: Leaves) -> None:
        """Waits for Orbax, reads the arrays back, and writes the manifest if their checksums agree."""
        step = meta.progress.step
        with self._writing(step):
            self._checkpointer.wait_until_finished()
            for group in _groups(shapes):
                for name, leaf in self._on_host(step, group).items():
                    if checksum.on_host(leaf) != meta.checksums[name]:
                        raise OSError(f"{name} is not the same on disk as in memory")
        self._write_manifest(meta)

    def _write_manifest(self, meta: Manifest) -> None:
        """Writes a manifest, and removes the steps that need not be kept any longer."""
        manifest.write(self.folder, meta)
        multiples = {s for s in manifest.steps(self.folder) if self.every and s % self.every == 0}
        manifest.remove(self.folder, keep=multiples | {meta.progress.step, meta.progress.best_step})

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        """Turns errors of writing a step into a StorageError."""
        try:
            yield
        except BROKEN as e:
            available = manifest.steps(self.folder)
            fallback = f"the last good one is step {available[-1]}" if available else "there is no earlier one"
            raise StorageError(
                f"{self._path(step)}: this checkpoint could not be written ({_first_line(e)}); {fallback}. Free some "
                f"space or repair the disk; the same command goes on from there"
            ) from e

    def has(self, step: int) -> bool:
        """Returns True if this step was the last to be saved or restored."""
        return self._last is not None and self._last.progress.step == step

    def saving(self) -> bool:
        """Returns True while the primary is busy with the last save."""
        return self._pending is not None and not self._pending.done()

    def check(self) -> None:
        """Raises the error of a save in the background, if there is one by now; never waits."""
        if self._pending and self._pending.done():
            self._pending.result()
        elif not distributed.is_primary() and self._last:
            with self._writing(self._last.progress.step):
                self._checkpointer.check_for_errors()

    def wait(self) -> None:
        """Waits until the last save counts, as far as this process takes part in it."""
        if self._pending:
            pending, self._pending = self._pending, None
            pending.result()
        elif self._last:
            with self._writing(self._last.progress.step):
                self._checkpointer.wait_until_finished()

    def latest(self) -> int | None:
        """Returns the newest step that counts, or None. All processes call it together and get one result."""
        available = distributed.from_primary(lambda: manifest.steps(self.folder))
        if not available and distributed.from_primary(lambda: bool(list(self.folder.glob("[0-9]*/progress")))):
            raise UserError(
                f"{self.folder}: its checkpoints are of an older version, without checksums; finish the run with that "
                f"version, or remove the folder to train again"
            )
        return available[-1] if available else None

    def read_manifest(self, step: int) -> Manifest:
        """Returns the manifest of a step that counts. All processes call it together and get one result."""
        fields = distributed.from_primary(lambda: dataclasses.asdict(manifest.read(self.folder, step)))
        return Manifest(Progress(**fields["progress"]), fields["checksums"], fields["about"])

    def verify(self, step: int) -> None:
        """Reads a step back and compares its checksums; on the primary.

        Raises:
          UserError: there is no such step.
          StorageError: the step is damaged; names the array.
        """
        if step not in (available := manifest.steps(self.folder)):
            raise UserError(f"--resume-from={step}: {self.folder} has no such step; it has {available}")
        meta = manifest.read(self.folder, step)
        for name in meta.checksums:
            self._checked_on_host(meta, name)

    def drop_after(self, step: int) -> None:
        """Removes every later step; on the primary."""
        manifest.remove(self.folder, {s for s in manifest.steps(self.folder) if s <= step})

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        """Restores everything, with the types and shardings of `like` (shapes with shardings).

        Raises:
          StorageError: the step is damaged; names the array.
        """
        meta, wanted = self.read_manifest(step), _flat(like.params, like.opt_state)
        leaves = self._restore(meta, wanted)
        tree = jax.tree.structure({"params": like.params, "opt_state": like.opt_state})
        restored = jax.tree.unflatten(tree, [leaves[name] for name in wanted])
        self._last = meta
        step_array = jax.device_put(np.int32(step), like.step.sharding)
        return TrainState(step_array, restored["params"], restored["opt_state"]), meta.progress

    def restore_params(self, step: int, like: Params) -> Params:
        """Restores parameters without moments, for scoring. Raises as `restore` does."""
        wanted = _flat(like, ())
        leaves = self._restore(self.read_manifest(step), wanted)
        return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in wanted])

    def restore_param(self, step: int, path: str) -> np.ndarray:
        """Restores one parameter on the host, in the type it was saved in. Raises as `restore` does."""
        name = f"params/{path}"
        return self._checked_on_host(self.read_manifest(step), name)

    def _restore(self, meta: Manifest, wanted: Leaves) -> Leaves:
        """Restores leaves to the devices and compares their checksums."""
        how = ocp.checkpoint_utils.construct_restore_args(wanted)
        args = ocp.args.PyTreeRestore(item=wanted, restore_args=how, partial_restore=True)
        step = meta.progress.step
        try:
            leaves = self._checkpointer.restore(self._path(step), args=args)
            sums = checksum.on_devices(leaves)
        except BROKEN as e:
            if distributed.is_primary():
                for name in wanted:  # on the host, one by one, to find the damaged one
                    self._checked_on_host(meta, name)
            raise self._damaged(step, _first_line(e)) from e
        if wrong := [name for name in wanted if sums[name] != meta.checksums.get(name)]:
            raise self._damaged(step, f"{', '.join(wrong)}: not the numbers that were saved")
        return leaves

    def _checked_on_host(self, meta: Manifest, name: str) -> np.ndarray:
        """Reads one leaf on the host and compares its checksum; on the primary."""
        step = meta.progress.step
        try:
            leaf = self._on_host(step, [name])[name]
        except BROKEN as e:
            raise self._damaged(step, f"{name}: {_first_line(e)}") from e
        if checksum.on_host(leaf) != meta.checksums.get(name):
            raise self._damaged(step, f"{name}: not the numbers that were saved")
        return leaf

    def _on_host(self, step: int, names: list[str]) -> dict[str, np.ndarray]:
        """Returns leaves in host memory; on the primary only."""
        how = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
        args = ocp.args.PyTreeRestore(item=dict.fromkeys(names, 0), restore_args=how, partial_restore=True)
        return {name: np.asarray(leaf) for name, leaf in self._alone.restore(self._path(step), args=args).items()}

    def _damaged(self, step: int, what: str) -> StorageError:
        return StorageError(f"{self._path(step)}: is damaged ({what}). {manifest.others(self.folder, step)}")

    def _path(self, step: int) -> Path:
        return self.folder / str(step)

    def chosen(self, keep: str) -> int:
        """Returns the step whose weights represent the run: the best, or the last.

        Raises:
          UserError: the run has no checkpoint.
        """
        latest = self.latest()
        if latest is None:
            raise UserError(f"{self.folder}: holds no checkpoint; was the run stopped before its first one?")
        best = self.read_manifest(latest).progress.best_step
        return latest if keep == "last" or best is None else best

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()  # waits for the save in progress; if that fails, the next start finds the step before
        with contextlib.suppress(BROKEN) if error else contextlib.nullcontext():
            self._checkpointer.close()
            self._alone.close()
