"""The log of a run's numbers: `metrics.jsonl` and TensorBoard events."""

import contextlib
import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from moral_jax.runtime.files import atomic_writer, storage_errors
from moral_jax.types import UserError


class _Board:
    """TensorBoard's events. Written by whoever logs: the thread in which tensorboardX would do it dies on a full disk,
    and then everybody waits for it."""

    EVERY = 60.0  # seconds between flushes, which wait for the disk

    def __init__(self, folder: Path, purge_step: int):
        # here, as it takes seconds where torch is installed, and most commands write no log
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto import event_pb2

        self._proto, self._scalar = event_pb2, summary.scalar
        with storage_errors(folder):
            folder.mkdir(exist_ok=True)
            self._file = event_file_writer.EventsWriter(str(folder / "events"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)  # hides what was written from this step on
        self._file.write_event(event_pb2.Event(wall_time=time.time(), step=purge_step, session_log=start))
        self._flushed = time.monotonic()

    def write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            scalar = self._scalar(name, value)
            self._file.write_event(self._proto.Event(wall_time=time.time(), step=step, summary=scalar))
        if time.monotonic() - self._flushed > self.EVERY:
            self._file.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        self._file.close()


class RunLog:
    """Writes {"step": n, "kind": ..., name: number, ...} lines and the same numbers as TensorBoard scalars.

    On resume, lines that the run will write again are dropped first: those after the restored step, and validations
    after the last one that the checkpoint knows of.
    """

    def __init__(self, folder: Path, restored_step: int, validated_step: int):
        self.path = folder / "metrics.jsonl"
        last = {"validation": validated_step}
        rows = [(self._read(n, line), line) for n, line in enumerate(self._lines(), 1)]
        with atomic_writer(self.path) as f:
            f.writelines(line for row, line in rows if row["step"] <= last.get(row["kind"], restored_step))
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _Board(folder / "tensorboard", restored_step + 1)

    def _lines(self) -> list[str]:
        """Whole lines only: a crash may have cut the last one."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [line for line in lines if line.endswith("\n")]

    def _read(self, number: int, line: str) -> dict[str, Any]:
        try:
            row = json.loads(line)
            return {"step": row["step"], "kind": row["kind"]}
        except (ValueError, KeyError, TypeError) as e:
            raise UserError(f"{self.path}:{number}: not a line of this log ({e}); remove the line to go on") from e

    def write(self, step: int, kind: str, values: dict[str, float]) -> None:
        row: dict[str, Any] = {"step": step, "kind": kind, **values}
        with storage_errors(self.path):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
            self._board.write(step, {f"{kind}/{name}": value for name, value in values.items()})

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with (
            contextlib.suppress(OSError) if error else storage_errors(self.path)
        ):  # on a full disk it would fail once more
            self._file.close()
            self._board.close()
