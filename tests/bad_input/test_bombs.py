"""Tests small files that claim to be large: each is refused in a process with little memory and time."""

import gzip
import json
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 1 << 30  # bytes beyond those of the imports
SECONDS = 60
# Runs all readers in one process, because the imports take longer than the readers
SCRIPT = """
import json, resource, sys, time
from pathlib import Path
from moral_jax.config.task import TaskConfig
from moral_jax.models import spec
from moral_jax.report import page
from moral_jax.tasks import reading
from moral_jax.types import UserError
from moral_jax.weights import gguf, hf, load, tokenizer

held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + {memory}, -1))
READERS = {{
    "safetensors": lambda p: hf.SafetensorsFolder(p),
    "gguf": lambda p: gguf.GgufFile(p),
    "rows": lambda p: reading.read(str(p), TaskConfig(name="votes")),
    "config": lambda p: load.read_spec(p),
    "tokenizer": lambda p: tokenizer.load(p),
    "run": lambda p: page.write(p),
}}
for name in sorted(p.name for p in Path(sys.argv[1]).iterdir()):
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        READERS[name.split("-")[0]](Path(sys.argv[1]) / name)
        said = "read it"
    except UserError as e:
        said = str(e)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([name, said, time.process_time() - began, grown / 1024]), flush=True)
"""


def sparse(path, start, size):
    """Writes a sparse file of `size` bytes, which takes no space on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(start)
    os.truncate(path, size)


def make(folder):
    """Writes the bombs; returns the text that each message must contain."""
    empty = struct.pack("<IQQ", 3, 10**12, 0)
    texts = struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 8, 1 << 57)
    one = struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a"  # a field, of as many items as the file can hold
    items, numbers = one + struct.pack("<IIQ", 9, 8, (1 << 23) - 9), one + struct.pack("<IIQ", 9, 0, (1 << 26) - 49)
    deep = b'{"a":' * 1_000_000
    for name, path, start, size in (
        ("safetensors-2^60", "model.safetensors", struct.pack("<Q", 1 << 60), 100),
        ("safetensors-90MB", "model.safetensors", struct.pack("<Q", 90_000_000) + b"[" * 1_000_000, 100_000_000),
        ("safetensors-index", "model.safetensors.index.json", b'{"weight_map": {', 1 << 40),
        ("config-4TB", "config.json", b"{", 1 << 42),
        ("config-deep", "config.json", deep, len(deep)),
        ("run-deep", "metrics.json", deep, len(deep)),
        ("run-4TB", "metrics.json", b"{", 1 << 42),
        ("tokenizer-4TB", "tokenizer.json", b"{", 1 << 42),
        ("gguf-tensors.gguf", "", b"GGUF" + empty, 1000),
        ("gguf-500MB.gguf", "", b"GGUF" + empty, 1 << 29),
        ("gguf-texts.gguf", "", b"GGUF" + texts, 1 << 29),
        ("gguf-items.gguf", "", b"GGUF" + items, 1 << 26),
        ("gguf-numbers.gguf", "", b"GGUF" + numbers, 1 << 26),
        ("rows-deep.jsonl", "", deep, len(deep)),
        ("rows-4TB.jsonl", "", b"x" * 100, 1 << 42),
    ):
        sparse(folder / name / path if path else folder / name, start, size)
    (folder / "rows-line.jsonl.gz").write_bytes(gzip.compress(b"a" * 500_000_000, 1))
    (folder / "rows-10MB.jsonl").write_bytes(json.dumps({"text": "x" * 10_000_000}).encode())
    return {
        "config-4TB": "at most 100000000",
        "config-deep": "not valid JSON",
        "gguf-500MB.gguf": "1000000000000 tensors",
        "gguf-items.gguf": "may have 2097152 together",
        "gguf-numbers.gguf": "may have 2097152 together",
        "gguf-tensors.gguf": "1000000000000 tensors",
        "gguf-texts.gguf": "144115188075855872 strings",
        "rows-10MB.jsonl": "shorten or split it",
        "rows-4TB.jsonl": "shorten or split it",
        "rows-deep.jsonl": "shorten or split it",
        "rows-line.jsonl.gz": "shorten or split it",
        "run-4TB": "at most 100000000",
        "run-deep": "not valid JSON",
        "safetensors-2^60": "a header of 1152921504606846976 bytes",
        "safetensors-90MB": "not valid JSON",
        "safetensors-index": "at most 100000000",
        "tokenizer-4TB": "at most",
    }


@pytest.mark.fault("small files that claim to be huge", promise="refused within 1 GiB of memory and seconds of time")
def test_bombs(tmp_path):
    expected = make(tmp_path / "bombs")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(memory=MEMORY), str(tmp_path / "bombs")],
        cwd=ROOT, capture_output=True, text=True, timeout=10 * SECONDS, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = {name: (said, seconds, grown) for name, said, seconds, grown in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == expected.keys()
    for name, (said, seconds, grown) in found.items():
        assert expected[name] in said, (name, said)
        assert seconds < 10, (name, seconds)
        assert grown < 600, (name, f"{grown:.0f} MiB more")  # of a JSON of 90 MB, text and objects
