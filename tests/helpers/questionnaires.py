"""Questionnaires that tests write, and asking them as a person would."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from moral_jax.cli import main
from moral_jax.report import questionnaire
from tests.helpers import quick

_WITHOUT_PICTURES = mock.patch.object(questionnaire, "_pictures", return_value=[])
Rows = list[dict[str, Any]]
_KILLED = """
import os, signal, sys
from moral_jax.runs import answers
append, calls = answers.append, []
def killed(path, records):
    calls.append(1)
    if len(calls) == {at}:
        append(path, records[: len(records) // {part}])
        with path.open("a") as file:
            file.write('{{"respondent": "scri')
        os.kill(os.getpid(), signal.SIGKILL)
    append(path, records)
answers.append = killed
{before}
from moral_jax.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def write(folder: Path, rows: Rows, conditions: Rows = (), toml: str = "", **files: str) -> Path:
    """Writes a folder: rows, conditions, task.toml and other files by name (map_csv for map.csv)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.toml").write_text(toml)
    for name, lines in (("rows.jsonl", rows), ("conditions.jsonl", conditions)):
        if lines:
            (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def ask(task: Path | str, out: Path, *flags: str, draws: bool = False) -> dict[str, Any]:
    """Runs `moral-jax ask --task`, and returns tally.json; asserts that it went well.

    Args:
      draws: make the pictures of the page too, which take most of the time.
    """
    with contextlib.nullcontext() if draws else _WITHOUT_PICTURES:
        assert main.main(["ask", f"--task={task}", f"--out={out}", *flags]) == 0
    return json.loads((out / "tally.json").read_text())


def tally(folder: Path, name: str, *answers: dict[str, Any]) -> dict[str, Any]:
    """Writes records into a folder, runs `moral-jax tally`, and returns tally.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in answers))
    with _WITHOUT_PICTURES:
        assert main.main(["tally", str(folder), f"--as={name}", "--resamples=100"]) == 0
    return json.loads((folder / "tally.json").read_text())


def records(out: Path) -> Rows:
    """Returns the records that were written."""
    return [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]


def values(found: dict[str, Any], table: str, who: str | None = None) -> dict[str, dict[str, float]]:
    """Returns row -> column -> value of a table, of the first respondent or another."""
    cells = found["tables"][table]["cells"][who or found["respondents"][0]]
    return {row: {column: cell["value"] for column, cell in of_row.items()} for row, of_row in cells.items()}


def cell(found: dict[str, Any], table: str, row: str, column: str) -> dict[str, Any]:
    """Returns one cell of the first respondent."""
    return found["tables"][table]["cells"][found["respondents"][0]][row][column]


def killed(*command: str, at: int = 3, part: int = 10**9, before: str = "") -> None:
    """Runs a command in a process that is killed when it writes answers for the `at`-th time, within a line.

    Args:
      part: one of so many of these answers is written.
      before: a line of Python that comes first.
    """
    program = _KILLED.format(at=at, part=part, before=before)
    env = os.environ | quick.PROCESS | {"PYTHONPATH": str(quick.ROOT)}
    done = subprocess.run([sys.executable, "-c", program, *command], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
