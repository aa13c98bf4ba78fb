"""Loading costs little more memory than the parameters themselves: measured, on a checkpoint of 2 GiB."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moral_jax.models import api, parameters
from moral_jax.weights import load, shard_slices
from tests.helpers import tiny
from tests.weights import by_hand

ROOT = Path(__file__).resolve().parents[2]
GIB = 1 << 30
# Widths of a model of 8 billion parameters, few layers. What is loaded last is the largest, half a GiB: a second copy
# of it would show
SPEC = tiny.spec(
    vocab=65_536, layers=3, width=4096, heads=32, kv_heads=8, head_size=128, mlp_width=14_336, tied_embeddings=False
)
LOAD = """
import sys, threading, time
from pathlib import Path

import jax

from moral_jax.config.model import ModelConfig
from moral_jax.models import api
from moral_jax.weights import load
from tests.helpers import tiny

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))

def watch():
    while True:
        seen.append(anonymous())
        time.sleep(0.005)

# the widths are about half of the largest in use, and so are the pieces
seen, folder = [], Path(sys.argv[1])
spec = load.read_spec(folder)
like = api.abstract_params(tiny.model(spec, param_dtype="bfloat16"))["decoder"]
before = anonymous()
threading.Thread(target=watch, daemon=True).start()
params = load.load(folder, spec, like, ModelConfig().load_piece_mb << 19)
last = params["unembedding"][-1, -1].item()
print(sum(x.nbytes for x in jax.tree.leaves(params)), before, max(seen), last)
"""


def write_zeros(folder: Path, files: int) -> int:
    """A checkpoint of zeros but for one number at its very end, which takes no room on disk; returns its bytes."""
    (folder / "config.json").write_text(json.dumps(tiny.hf_config(SPEC)))
    leaves = load.flat(api.abstract_params(tiny.model(SPEC))["decoder"])
    tensors = {
        name: ("BF16", shard_slices.file_shape(entry, leaves[entry.path].shape))
        for entry in parameters.entries(SPEC)
        for name in shard_slices.sources(entry, False)
    }
    names, weight_map, total = list(tensors), {}, 0
    for number in range(files):
        part = names[number * len(names) // files : (number + 1) * len(names) // files]
        head = by_hand.header({name: tensors[name] for name in part})
        size, file = head[part[-1]]["data_offsets"][1], f"part-{number}.safetensors"
        by_hand.write(folder / file, head, size)
        weight_map |= dict.fromkeys(part, file)
        total += size
    with (folder / file).open("r+b") as f:
        f.seek(-2, os.SEEK_END)
        f.write(b"\x80\x3f")  # 1.0 in bfloat16
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return total


def available() -> int:
    """Bytes of memory that are free, as Linux counts them; 0 elsewhere."""
    file = Path("/proc/meminfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), 0)


@pytest.mark.skipif(available() < 4 * GIB, reason="needs 4 GiB of free memory, and Linux to measure it")
def test_two_gib_load_in_less_than_half_of_one_more(tmp_path):
    total = write_zeros(tmp_path, files=4)
    assert total >= 2 * GIB
    # one device and XLA as it comes: the flags of the other tests are for tiny programs
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-c", LOAD, str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    held, before, peak, last = map(float, done.stdout.split())
    assert held == total
    assert last == 1.0
    assert peak - before > held  # the watch sees the parameters
    assert peak - before - held < GIB / 2, f"{(peak - before - held) / GIB:.2f} GiB more"
