"""Reads a large file of votes twice, each time in a new process: seconds, rows a second, and peak memory.

    python benchmarks/large_votes.py [ROWS] [--json=FILE]

The first start prepares the rows in the cache, the second maps them into memory.
"""

import json
from pathlib import Path

import two_starts

READ = """
import json, resource, sys, time
from moral_jax.config.task import TaskConfig
from moral_jax.tasks import load, reading
config = TaskConfig(name="votes", path=sys.argv[1], test=0.001, validation=0.001)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
rows = reading.read(config.path, config).examples
read, read_mib = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
data = load.load(config)
divided, mib = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"rows": len(rows), "seconds to read": read, "MiB after reading": read_mib,
                  "seconds until divided": divided, "peak MiB": mib, "train": len(data.train)}))
"""


def write(path: Path, rows: int) -> None:
    """Writes rows of votes as JSON lines."""
    with path.open("w") as out:
        for i in range(rows):
            text = f"Story number {i}: somebody did something to somebody else, and nobody knew what to say about it."
            row = {"id": str(i), "text": text, "question": "Was it wrong?", "options": ["yes", "no"]}
            out.write(json.dumps(row | {"counts": [i % 5, 5 - i % 5]}) + "\n")


if __name__ == "__main__":
    two_starts.main(__doc__, "rows", 5_000_000, "votes.jsonl", write, READ)
