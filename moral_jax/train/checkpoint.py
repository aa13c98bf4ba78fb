"""Checkpoints of the training state, frozen weights left out: the latest, the best, and those to keep for good.

Orbax writes in the background. A step counts once it was read back, agreed with its checksums and was sealed (`seals`),
and only then may another be removed: so we use Orbax's checkpointer, not its manager, which removes before that.
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
READ_AT_ONCE = 1 << 30  # bytes of a checkpoint that the primary holds in memory while it reads one back
# A damaged file of Orbax's own may show anywhere in Orbax and TensorStore, a full disk too: as what, nobody says, and
# some of it is a bare Exception.
BROKEN = Exception
# Orbax measures how long a save takes by the wall clock, which may be set by years meanwhile; without directories made
# in the background there is one wait less for which it does. Processes that are gone are noticed without it. No longer
# than threads can wait (292 years).
ORBAX = ocp.options.AsyncOptions(timeout_secs=9 * 10**9, create_directories_asynchronously=False)


def _not_orbaxs_error(record: logging.LogRecord) -> bool:
    """Of what Orbax logs, errors with their traceback: it raises them as well, and we say them in one line."""
    return record.levelno < logging.ERROR or f"{os.sep}orbax{os.sep}" not in record.pathname


def _flat(params: Params, opt_state: Any) -> Leaves:
    tree = {"params": params, "opt_state": opt_state}
    return {sharding.path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"


def _groups(leaves: Leaves) -> Iterator[list[str]]:
    """Names of leaves that are read together: of about READ_AT_ONCE bytes, or one."""
    group, size = [], 0
    for name, leaf in leaves.items():
        bytes_of_leaf = leaf.size * leaf.dtype.itemsize
        if group and size + bytes_of_leaf > READ_AT_ONCE:
            yield group
            group, size = [], 0
        group.append(name)
        size += bytes_of_leaf
    yield group


class Checkpoints:
    """Saves in the background; reads.

    Args:
      folder: for all steps of a run.
      about: see `Seal`; needed for saving.
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
        self._sealing: concurrent.futures.Future | None = None  # on the primary
        self._there: Manifest | None = None  # the step that was saved or restored last

    def save(self, state: TrainState, progress: Progress) -> None:
        """Saves step `progress.step`. Where it is there already, what is known of it is renewed.

        Raises:
          StorageError: it cannot be written, or the one before could not.
        """
        self.wait()
        if self.has(progress.step):
            self._there = dataclasses.replace(self._there, progress=progress)
            self._then(self._seal, self._there)
            return
        leaves = _flat(state.params, state.opt_state)
        seal = Manifest(progress, checksum.on_devices(leaves), self.about)
        shapes = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
        with self._writing(progress.step):
            self.folder.mkdir(parents=True, exist_ok=True)
            # force: of a step that was never sealed, a crash may have left something
            self._checkpointer.save(self._path(progress.step), args=ocp.args.PyTreeSave(leaves), force=True)
        self._there = seal
        self._then(self._finish, seal, shapes)

    def _then(self, work: Any, *arguments: Any) -> None:
        if distributed.is_primary():
            self._sealing = self._thread.submit(work, *arguments)

    def _finish(self, seal: Manifest, shapes: Leaves) -> None:
        step = seal.progress.step
        with self._writing(step):
            self._checkpointer.wait_until_finished()
            for group in _groups(shapes):
                for name, leaf in self._on_host(step, group).items():
                    if checksum.on_host(leaf) != seal.checksums[name]:
                        raise OSError(f"{name} is not on disk what it is in memory")
        self._seal(seal)

    def _seal(self, seal: Manifest) -> None:
        manifest.write(self.folder, seal)
        kept = {s for s in manifest.steps(self.folder) if self.every and s % self.every == 0}
        manifest.remove(self.folder, keep=kept | {seal.progress.step, seal.progress.best_step})

    @contextlib.contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            yield
        except BROKEN as e:
            there = manifest.steps(self.folder)
            left = f"the last good one is step {there[-1]}" if there else "there is no earlier one"
            raise StorageError(
                f"{self._path(step)}: this checkpoint could not be written ({_first_line(e)}); {left}. Make room or "
                f"repair the disk; the same command goes on from there"
            ) from e

    def has(self, step: int) -> bool:
        """Whether this step is the one that was saved or restored last."""
        return self._there is not None and self._there.progress.step == step

    def saving(self) -> bool:
        """Whether the primary is still at the last one."""
        return self._sealing is not None and not self._sealing.done()

    def check(self) -> None:
        """Raises what went wrong in the background, if anything has by now; costs nothing."""
        if self._sealing and self._sealing.done():
            self._sealing.result()
        elif not distributed.is_primary() and self._there:
            with self._writing(self._there.progress.step):
                self._checkpointer.check_for_errors()

    def wait(self) -> None:
        """Until what was saved counts, as far as this process has a part in it."""
        if self._sealing:
            sealing, self._sealing = self._sealing, None
            sealing.result()
        elif self._there:
            with self._writing(self._there.progress.step):
                self._checkpointer.wait_until_finished()

    def latest(self) -> int | None:
        """The newest step that counts: the same on all processes, which call it together."""
        there = distributed.from_primary(lambda: manifest.steps(self.folder))
        if not there and distributed.from_primary(lambda: bool(list(self.folder.glob("[0-9]*/progress")))):
            raise UserError(
                f"{self.folder}: its checkpoints are of an older version, without checksums; finish the run with that "
                f"version, or remove the folder to train again"
            )
        return there[-1] if there else None

    def read_manifest(self, step: int) -> Manifest:
        """What is known of a step that counts: the same on all processes, which call it together."""
        seal = distributed.from_primary(lambda: dataclasses.asdict(manifest.read(self.folder, step)))
        return Manifest(Progress(**seal["progress"]), seal["checksums"], seal["about"])

    def verify(self, step: int) -> None:
        """Reads a step back; on the primary.

        Raises:
          UserError: there is no such step.
          StorageError: something of it is damaged: names it.
        """
        if step not in (there := manifest.steps(self.folder)):
            raise UserError(f"--resume-from={step}: {self.folder} has no such step; it has {there}")
        seal = manifest.read(self.folder, step)
        for name in seal.checksums:
            self._checked_on_host(seal, name)

    def drop_after(self, step: int) -> None:
        """Removes every later step; on the primary."""
        manifest.remove(self.folder, {s for s in manifest.steps(self.folder) if s <= step})

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        """Restores everything, typed and placed like `like` (shapes with shardings).

        Raises:
          StorageError: something of it is damaged: names it.
        """
        seal, wanted = self.read_manifest(step), _flat(like.params, like.opt_state)
        leaves = self._restore(seal, wanted)
        tree = jax.tree.structure({"params": like.params, "opt_state": like.opt_state})
        restored = jax.tree.unflatten(tree, [leaves[name] for name in wanted])
        self._there = seal
        done = jax.device_put(np.int32(step), like.step.sharding)
        return TrainState(done, restored["params"], restored["opt_state"]), seal.progress

    def restore_params(self, step: int, like: Params) -> Params:
        """Restores parameters alone: scoring needs no moments. Raises as `restore` does."""
        wanted = _flat(like, ())
        leaves = self._restore(self.read_manifest(step), wanted)
        return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in wanted])

    def restore_param(self, step: int, path: str) -> np.ndarray:
        """Restores one parameter alone, on the host, in the type it was saved in. Raises as `restore` does."""
        name = f"params/{path}"
        return self._checked_on_host(self.read_manifest(step), name)

    def _restore(self, seal: Manifest, wanted: Leaves) -> Leaves:
        how = ocp.checkpoint_utils.construct_restore_args(wanted)
        args = ocp.args.PyTreeRestore(item=wanted, restore_args=how, partial_restore=True)
        step = seal.progress.step
        try:
            leaves = self._checkpointer.restore(self._path(step), args=args)
            sums = checksum.on_devices(leaves)
        except BROKEN as e:
            if distributed.is_primary():
                for name in wanted:  # on the host, one by one, to find the one to blame
                    self._checked_on_host(seal, name)
            raise self._damaged(step, _first_line(e)) from e
        if wrong := [name for name in wanted if sums[name] != seal.checksums.get(name)]:
            raise self._damaged(step, f"{', '.join(wrong)}: not the numbers that were saved")
        return leaves

    def _checked_on_host(self, seal: Manifest, name: str) -> np.ndarray:
        step = seal.progress.step
        try:
            leaf = self._on_host(step, [name])[name]
        except BROKEN as e:
            raise self._damaged(step, f"{name}: {_first_line(e)}") from e
        if checksum.on_host(leaf) != seal.checksums.get(name):
            raise self._damaged(step, f"{name}: not the numbers that were saved")
        return leaf

    def _on_host(self, step: int, names: list[str]) -> dict[str, np.ndarray]:
        """Leaves in memory, on the process that asks, which must be the primary."""
        how = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names}
        args = ocp.args.PyTreeRestore(item=dict.fromkeys(names, 0), restore_args=how, partial_restore=True)
        return {name: np.asarray(leaf) for name, leaf in self._alone.restore(self._path(step), args=args).items()}

    def _damaged(self, step: int, what: str) -> StorageError:
        return StorageError(f"{self._path(step)}: is damaged ({what}). {manifest.others(self.folder, step)}")

    def _path(self, step: int) -> Path:
        return self.folder / str(step)

    def chosen(self, keep: str) -> int:
        """The step whose weights a run stands for: the best, or the last.

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
        self._thread.shutdown()  # finishes what is being written; if it cannot, the next start finds the one before
        with contextlib.suppress(BROKEN) if error else contextlib.nullcontext():
            self._checkpointer.close()
            self._alone.close()
