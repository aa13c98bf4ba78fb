"""benchmarks/gpu_first_run.sh, rehearsed on this machine with tiny shapes."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.helpers import quick

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu_first_run.sh"


def rehearse(out: Path, *flags: str, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    """Runs the script with this Python, on one device."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | quick.PROCESS | {"PATH": path, "XLA_FLAGS": quick.XLA_FLAGS}
    return subprocess.run([script, out, "--tiny", *flags], env=environment, capture_output=True, text=True, check=False)


def test_the_first_run_measures_attention_training_and_scoring(tmp_path, tiny_folder):
    done = rehearse(tmp_path, f"--config.model.path={tiny_folder}")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = json.loads((tmp_path / "attention.json").read_text())["cells"]
    assert {cell["mask"] for cell in cells} == {"one text", "questions", "window"}
    assert all(max(cell["errors"].values()) < 0.02 for cell in cells)
    measured = json.loads((tmp_path / "mfu_0.json").read_text())
    assert [name.split(",")[0] for name in measured] == ["full", "lora"]
    assert all(cell[work]["tokens_per_second"] > 0 for cell in measured.values() for work in ("training", "scoring"))
    assert (tmp_path / "log").read_text() == done.stdout


def test_what_has_no_time_left_is_said_and_is_the_exit_status(tmp_path):
    late = tmp_path / "benchmarks" / "late.sh"
    late.parent.mkdir()
    late.write_text(SCRIPT.read_text().replace("limit=480", "limit=0"))
    late.chmod(0o755)
    done = rehearse(tmp_path / "late", script=late)
    assert done.returncode == 1
    assert "no time left for: python3 benchmarks/attention.py" in done.stdout
    assert "no time left for: python3 benchmarks/mfu.py" in done.stdout
