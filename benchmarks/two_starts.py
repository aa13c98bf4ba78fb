"""What `large_votes.py` and `large_texts.py` share: a file that is prepared in a new process, and again in another."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main(doc: str, size: str, default: int, name: str, write: Callable[[Path, int], None], code: str) -> None:
    """Writes a file, starts twice with one cache, and prints what both say.

    Args:
      doc: the help.
      size: of the file, the name of the argument.
      default: of that argument.
      name: of the file.
      code: runs in each process with the file as its argument, and prints JSON last.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(size, nargs="?", type=int, default=default)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path, getattr(args, size))
        environment = os.environ | {"MORAL_JAX_CACHE": folder, "TQDM_DISABLE": "1"}
        for start in ("first", "second"):
            began, command = time.perf_counter(), [sys.executable, "-c", code, str(path)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, cwd=ROOT)
            numbers = json.loads(done.stdout.splitlines()[-1])
            found.append({"start": start, "whole seconds": time.perf_counter() - began} | numbers)
        found[0]["file MiB"] = path.stat().st_size / 2**20
        found[0]["cache MiB"] = sum(f.stat().st_size for f in Path(folder).rglob("*.arrow")) / 2**20
    for one in found:
        print("  ".join(f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in one.items()))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")
