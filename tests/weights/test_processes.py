"""Two real processes load one model: each reads its own half of the file, and both halves are right."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from safetensors.numpy import save_file

from tests.helpers import quick, tiny

ROOT = Path(__file__).resolve().parents[2]
SPEC = tiny.spec(vocab=96)
LOAD = """
import sys
from pathlib import Path

import jax
import numpy as np

from moral_jax import sharding
from moral_jax.runtime import distributed
from moral_jax.config.model import MeshConfig
from moral_jax.models import api
from moral_jax.weights import hf, load
from tests.helpers import tiny

address, process, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
distributed.start(address, 2, process)
read, sizes = hf.SafetensorsFolder.read, []

def counted(self, name, index):
    numbers = read(self, name, index)
    sizes.append(numbers.nbytes)
    return numbers

hf.SafetensorsFolder.read = counted
spec = load.read_spec(folder)
model = tiny.model(spec, mesh=sharding.make_mesh(MeshConfig(data=1, fsdp=2, tensor=2)))
loaded = load.flat(load.load(folder, spec, api.abstract_params(model)["decoder"], 4096))
alone = sharding.make_mesh(MeshConfig(), jax.local_devices()[:1])
want = load.flat(tiny.params(tiny.model(spec, mesh=alone))["decoder"])
for path, leaf in loaded.items():
    for shard in leaf.addressable_shards:
        np.testing.assert_array_equal(shard.data, np.asarray(want[path])[shard.index], err_msg=path)
print(sum(sizes))
"""


def test_each_process_reads_its_half(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(tiny.hf_config(SPEC)))
    tensors = tiny.hf_tensors(SPEC, tiny.params(tiny.model(SPEC))["decoder"])
    save_file(tensors, tmp_path / "model.safetensors")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    two_each = f"--xla_force_host_platform_device_count=2 {quick.XLA_FLAGS}"
    environment = os.environ | quick.PROCESS | {"XLA_FLAGS": two_each}
    command = [sys.executable, "-c", LOAD, address]
    running = [
        subprocess.Popen(
            [*command, str(i), str(tmp_path)], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for i in range(2)
    ]
    read = [int(process.communicate(timeout=120)[0].split()[-1]) for process in running]
    norms = sum(x.nbytes for name, x in tensors.items() if "norm" in name)
    matrices = sum(x.nbytes for x in tensors.values()) - norms
    assert read == [matrices // 2 + norms] * 2
