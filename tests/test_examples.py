"""The scripts of examples/ run as they are, on a tiny model."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers import quick

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(name: str, *arguments: object, cwd: Path) -> str:
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=os.environ | quick.PROCESS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_votes_and_intervals(tmp_path):
    text = run("votes_and_intervals.py", cwd=tmp_path)
    [found] = re.findall(r"total_variation +([\d.]+)", text)
    votes = (9, 2, 6, 3, 10, 5)
    assert float(found) == round(sum(abs(v / 10 - 0.5) for v in votes) / len(votes), 3)


def test_train_from_python(tmp_path, tiny_folder):
    text = run("train_from_python.py", tmp_path / "out", tiny_folder, cwd=tmp_path)
    assert re.findall(r"^(initial|trained) +cross-entropy [\d.]+ \[", text, re.MULTILINE) == ["initial", "trained"]
    assert (tmp_path / "out" / "run" / "report.html").exists()


def test_every_example_is_run():
    text = Path(__file__).read_text()
    assert all(f'"{path.name}"' in text for path in EXAMPLES.glob("*.py"))
