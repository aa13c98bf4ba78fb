"""Prepares a large corpus of documents for training, each time in a new process: seconds and memory until the first
batch.

    python benchmarks/large_texts.py [MB] [--json=FILE]

The first start reads, divides and tokenises the documents once into the cache, with progress bars; the second maps them
into memory. Three batches of each start are hashed, in the second in the opposite order: what a step sees depends on
its number alone.
Memory is what the process holds itself; pages of mapped files, which the system takes back when it needs them, are
given beside it.
"""

import json
import random
import re
from pathlib import Path

import two_starts

PREPARE = """
import hashlib, json, os, pathlib, sys, threading, time
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
flags = ["--config=configs/text/sft.py", f"--config.task.path={sys.argv[1]}", "--config.task.validation=0.001",
         "--config.task.test=0"]
is_first = not any(pathlib.Path(os.environ["MORAL_JAX_CACHE"]).rglob("*.npz"))
began = time.perf_counter()
setup = build.training_setup(parsing.from_flags(flags))
batch = setup.batches[0]
seconds = time.perf_counter() - began
questions, steps = setup.batches.questions, len(setup.batches)
numbers = [1, steps // 2, steps - 1]
hashes = {n: hashlib.sha256(setup.batches[n].tokens.tokens_BT.tobytes()).hexdigest()[:8]
          for n in (numbers if is_first else numbers[::-1])}
print(json.dumps({"seconds": seconds, "documents": len(setup.data.train), "pieces": len(questions.items),
                  "tokens": int(questions.measures.lengths_E.sum()), "batches": steps, "peak MiB held": most[0],
                  "MiB mapped": held("RssFile"), "three batches": " ".join(hashes[n] for n in numbers)}))
"""


def write(path: Path, megabytes: int) -> None:
    """Writes documents of 1 to 8 kB as JSON lines, of the words of this project's pages as often as they are there."""
    source = random.Random(0)
    pages = "\n".join(page.read_text() for page in sorted((two_starts.ROOT / "docs").glob("*.md")))
    words = re.findall(r"[A-Za-z]+[.,;]?", pages)
    with path.open("w") as out:
        while out.tell() < megabytes * 1_000_000:
            text = " ".join(source.choices(words, k=source.randint(200, 1600)))
            out.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    two_starts.main(__doc__, "megabytes", 5_000, "documents.jsonl", write, PREPARE)
