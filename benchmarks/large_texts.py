"""Prepares a large corpus of documents for training, each time in a new process: seconds and memory until the first
batch.

    python benchmarks/large_texts.py [MB] [--json=FILE]

The first start reads, divides and tokenises the documents once into the cache; the second maps them into memory.
Memory is what the process holds itself; pages of mapped files, which the system takes back when it needs them, are
given beside it.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PREPARE = """
import json, sys, threading, time
from moral_jax.config import parsing
from moral_jax.workflows import build

def held(name):
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return int(status[name].split()[0]) / 1024

most = [0.0]
def watch():
    while True:
        most[0] = max(most[0], held("RssAnon"))
        time.sleep(0.05)
threading.Thread(target=watch, daemon=True).start()
began = time.perf_counter()
setup = build.training_setup(parsing.from_flags(sys.argv[1:]))
batch = setup.batches[0]
questions = setup.batches.questions
print(json.dumps({"seconds": time.perf_counter() - began, "documents": len(setup.data.train),
                  "pieces": len(questions.items), "tokens": int(questions.measures.lengths_E.sum()),
                  "batches": len(setup.batches), "peak MiB held": most[0], "MiB mapped": held("RssFile")}))
"""


def write(path: Path, megabytes: int) -> None:
    """Writes documents of 1 to 8 kB as JSON lines, of the words of this project's pages as often as they are there."""
    source, pages = random.Random(0), "\n".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))
    words = re.findall(r"[A-Za-z]+[.,;]?", pages)
    with path.open("w") as out:
        while out.tell() < megabytes * 1_000_000:
            text = " ".join(source.choices(words, k=source.randint(200, 1600)))
            out.write(json.dumps({"text": text}) + "\n")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("megabytes", nargs="?", type=int, default=5_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "documents.jsonl"
        write(path, args.megabytes)
        environment = os.environ | {"MORAL_JAX_CACHE": folder, "TQDM_DISABLE": "1"}
        flags = [f"--config.task.path={path}", "--config.task.validation=0.001", "--config.task.test=0"]
        for start in ("first", "second"):
            began = time.perf_counter()
            command = [sys.executable, "-c", PREPARE, "--config=configs/text/sft.py", *flags]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, cwd=ROOT)
            numbers = json.loads(done.stdout.splitlines()[-1])
            found.append({"start": start, "whole seconds": time.perf_counter() - began} | numbers)
        found[0]["cache MiB"] = sum(f.stat().st_size for f in Path(folder).rglob("*.arrow")) / 2**20
    for one in found:
        print("  ".join(f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in one.items()))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
