"""Orbax checkpoints of the whole training state: the latest, and the best on validation."""

import dataclasses
from pathlib import Path
from types import TracebackType

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from moral_jax.types import Params, TrainState, UserError


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where the loop stands, beside the state itself."""

    step: int = 0
    best_step: int | None = None
    best_loss: float | None = None
    without_best: int = 0  # validations since the best
    finished: bool = False


class Checkpoints:
    """Saves in the background; a step counts once it is whole on disk."""

    def __init__(self, folder: Path):
        keep = policies.AnyPreservationPolicy(
            [
                policies.LatestN(1),
                policies.BestN(
                    get_metric_fn=lambda m: -m["loss"], reverse=False, n=1, keep_checkpoints_without_metrics=False
                ),
            ]
        )
        self.folder = folder
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(preservation_policy=keep, enable_background_delete=True),
        )

    def save(self, state: TrainState, progress: Progress, loss: float | None) -> None:
        """Saves step `progress.step`; a validation `loss` makes it a candidate for best."""
        self._manager.save(
            progress.step,
            metrics=None if loss is None else {"loss": loss},
            force=True,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                opt_state=ocp.args.StandardSave(state.opt_state),
                progress=ocp.args.JsonSave(dataclasses.asdict(progress)),
            ),
        )

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def progress(self, step: int) -> Progress:
        restored = self._manager.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore()))
        return Progress(**restored["progress"])

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        """Restores everything, placed and typed like `like` (arrays or shapes)."""
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(like.params),
                opt_state=ocp.args.StandardRestore(like.opt_state),
                progress=ocp.args.JsonRestore(),
            ),
        )
        state = TrainState(jax.numpy.int32(step), restored["params"], restored["opt_state"])
        return state, Progress(**restored["progress"])

    def restore_params(self, step: int, like: Params) -> Params:
        """Restores parameters alone: scoring needs no moments."""
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        return self._manager.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(like)))["params"]

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
