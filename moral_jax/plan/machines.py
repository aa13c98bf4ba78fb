"""Machines by name: TPU slices, and machines with GPUs. Their devices are described to a compiler, and are not here."""

import dataclasses
import importlib.util
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

from moral_jax.plan.chips import CHIPS, GIB, Chip, target
from moral_jax.types import UserError

CUDA_PLUGINS = (12, 13)
GPU_JAX = (0, 12)  # the first version of JAX that compiles for a GPU that is not there
NO_TPU_HERE = {  # or libtpu asks the cloud what machine this is, and complains that nobody answers
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # two plans at once share nothing
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A TPU slice, or machines with GPUs: the chip and the devices, none of which are here."""

    name: str
    chip: Chip
    devices: list[Any]

    @property
    def limit(self) -> int:
        """Bytes that a program may use on a chip."""
        return round(self.chip.hbm_gib * GIB)

    @property
    def together(self) -> int | None:
        """The number of GPUs in a machine, beyond which links do not reach; None of TPUs."""
        return sum(d.process_index == 0 for d in self.devices) if self.chip.gpu else None


def topology(name: str, slices: int = 1) -> Topology:
    """The devices of one or several slices such as v5e:4x4, v5p:2x2x1 or v6e:2x4, or of machines such as h100:2x8.

    Args:
      slices: parts that a slow network connects: TPU slices, or machines with GPUs.

    Raises:
      UserError: the compiler is not installed, or there is no such topology.
    """
    generation, _, shape = name.partition(":")
    chip = CHIPS.get(generation)
    if not chip or not re.fullmatch(r"(\d+x)?\d+" if chip.gpu else r"\d+(x\d+){1,2}", shape):
        tpus, gpus = ([g for g, c in CHIPS.items() if bool(c.gpu) == is_gpu] for is_gpu in (False, True))
        raise UserError(
            f"--topology={name}: expected GENERATION:SHAPE like v5e:4x4 ({', '.join(tpus)}), or GPU:COUNT or "
            f"GPU:MACHINESxCOUNT like h100:8 or h100:2x8 ({', '.join(gpus)})"
        )
    _check_compiler(chip)
    for variable, value in NO_TPU_HERE.items():
        os.environ.setdefault(variable, value)
    jax.config.update("jax_platforms", "cpu")
    described = f"{slices} x {name}" if slices > 1 else name
    try:
        devices = _gpus(chip, shape, slices) if chip.gpu else _tpus(name, slices)
    except (RuntimeError, ValueError, NotImplementedError, jax.errors.JaxRuntimeError) as e:
        raise UserError(f"--topology={name}: the compiler does not know it ({str(e).splitlines()[0]})") from e
    return Topology(described, chip, devices)


def _check_compiler(chip: Chip) -> None:
    """Refuses to go on without the chip's compiler."""
    if not chip.gpu:
        if importlib.util.find_spec("libtpu") is None:
            raise UserError("the TPU compiler is not installed: pip install 'moral-jax[plan]'")
        return
    plugins = (importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in CUDA_PLUGINS)
    if not any(plugins) or jax.__version_info__ < GPU_JAX:
        raise UserError(
            f"the GPU compiler is not installed (JAX {jax.__version__}): pip install 'moral-jax[plan-gpu]'; it needs "
            f"Python 3.12 and about 6 GB, and no GPU"
        )


def _tpus(name: str, slices: int) -> list[Any]:
    return list(topologies.get_topology_desc(platform="tpu", topology_name=name, num_slices=slices).devices)


def _gpus(chip: Chip, shape: str, slices: int) -> list[Any]:
    several, _, count = shape.rpartition("x")
    machines = slices * int(several or 1)
    described = topologies.get_topology_desc(
        platform="cuda", target_config=target(chip), topology=f"1x{machines}x{count}"
    )
    return list(described.devices)
