"""Orbax checkpoints of the training state, frozen weights left out: the latest, and the best on validation."""

import dataclasses
import math
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from moral_jax.config import AdapterConfig
from moral_jax.types import Params, TrainState, UserError


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where the loop stands, beside the state itself."""

    step: int = 0
    best_step: int | None = None
    best_loss: float | None = None
    without_best: int = 0  # validations since the best
    finished: bool = False


def _worth(metrics: dict[str, float]) -> float:
    return -metrics["loss"]


class Checkpoints:
    """Saves in the background; a step counts once it is whole on disk."""

    def __init__(self, folder: Path):
        keep = policies.AnyPreservationPolicy(
            [
                policies.LatestN(1),
                policies.BestN(get_metric_fn=_worth, reverse=False, n=1, keep_checkpoints_without_metrics=False),
            ]
        )
        self.folder = folder
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            # best_fn beside the policy: without it, Orbax does not write the loss down, and after a resume no longer
            # knows which checkpoint to preserve as the best
            options=ocp.CheckpointManagerOptions(
                preservation_policy=keep, best_fn=_worth, best_mode="max", enable_background_delete=True
            ),
        )

    def save(self, state: TrainState, progress: Progress, loss: float | None, adapter: dict[str, Any]) -> None:
        """Saves step `progress.step`; a validation `loss` makes it a candidate for best. `adapter`: the settings that
        give the adapters their meaning."""
        self._manager.save(
            progress.step,
            metrics={"loss": math.inf if loss is None else loss},
            force=True,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                opt_state=ocp.args.StandardSave(state.opt_state),
                progress=ocp.args.JsonSave(dataclasses.asdict(progress)),
                adapter=ocp.args.JsonSave(adapter),
            ),
        )

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def progress(self, step: int) -> Progress:
        restored = self._manager.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore()))
        return Progress(**restored["progress"])

    def adapter(self, step: int) -> dict[str, Any]:
        """The adapter's settings at a step; those from before there was such a setting have its default."""
        defaults = dataclasses.asdict(AdapterConfig())
        try:
            saved = self._manager.restore(step, args=ocp.args.Composite(adapter=ocp.args.JsonRestore()))
        except KeyError:  # saved without such a part
            return defaults
        return defaults | saved["adapter"]

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        """Restores everything, typed and placed like `like` (shapes with shardings)."""
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(like.params),
                opt_state=ocp.args.StandardRestore(like.opt_state),
                progress=ocp.args.JsonRestore(),
            ),
        )
        done = jax.device_put(np.int32(step), like.step.sharding)
        state = TrainState(done, restored["params"], restored["opt_state"])
        return state, Progress(**restored["progress"])

    def restore_params(self, step: int, like: Params) -> Params:
        """Restores parameters alone: scoring needs no moments."""
        return self._manager.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(like)))["params"]

    def restore_param(self, step: int, path: str) -> np.ndarray:
        """Restores one parameter alone, on the host, in the type it was saved in."""
        wanted: Params | int = 0
        for part in reversed(path.split("/")):
            wanted = {part: wanted}
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        args = ocp.args.PyTreeRestore(item=wanted, restore_args=how, partial_restore=True)
        [leaf] = jax.tree.leaves(self._manager.restore(step, args=ocp.args.Composite(params=args))["params"])
        return leaf

    def chosen(self, keep: str) -> int:
        """The step whose weights a run stands for: the best, or the last.

        Raises:
          UserError: the run has no checkpoint.
        """
        latest = self.latest()
        if latest is None:
            raise UserError(f"{self.folder}: holds no checkpoint; was the run stopped before its first one?")
        best = self.progress(latest).best_step
        return latest if keep == "last" or best is None else best

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.close()
