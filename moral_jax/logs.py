"""What a run says while it runs: lines on the terminal, `metrics.jsonl`, and TensorBoard events."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from moral_jax import secrets

_speaks = True  # of several processes that run together, one does


def mute() -> None:
    """Silences lines and bars of this process for good."""
    global _speaks
    _speaks = False


def say(message: str) -> None:
    """One line for the person, above any progress bar."""
    if _speaks:
        tqdm.write(secrets.redacted(message))


def progress(*args: Any, **kwargs: Any) -> tqdm:
    """A progress bar: tqdm's own arguments."""
    return tqdm(*args, **kwargs, **({} if _speaks else {"disable": True}))


class RunLog:
    """Writes {"step": n, "kind": ..., name: number, ...} lines and the same numbers as TensorBoard scalars.

    On resume, lines after the restored step are dropped first: the run will write them again.
    """

    def __init__(self, folder: Path, restored_step: int):
        import tensorboardX  # takes seconds where torch is installed, and most commands write no log

        self.path = folder / "metrics.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["step"] <= restored_step]
        partial = self.path.with_name(self.path.name + ".partial")
        partial.write_text("".join(kept), encoding="utf-8")
        partial.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = tensorboardX.SummaryWriter(str(folder / "tensorboard"), purge_step=restored_step + 1)

    def _lines(self) -> list[str]:
        """Whole lines only: a crash may have cut the last one."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [line for line in lines if line.endswith("\n")]

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        row: dict[str, Any] = {"step": step, "kind": kind, **values}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()
