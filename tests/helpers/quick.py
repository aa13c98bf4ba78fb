"""Settings that save time in tests and in the processes that tests start."""

import os
from importlib import metadata
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
# the programs of tests are tiny: optimising them would take longer than running them
XLA_FLAGS = "--xla_backend_optimization_level=0"
if Version(metadata.version("jaxlib")) < Version("0.11"):  # later versions abort at unknown flags
    XLA_FLAGS += " --xla_cpu_use_fusion_emitters=false"  # the older fusion compiler takes a third of the time
# one device, fast compilation, and no torch, which transformers would import
PROCESS = {
    "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "without_torch"))),
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": XLA_FLAGS,
    "TQDM_DISABLE": "1",
}
