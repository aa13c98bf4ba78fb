"""Chips as data: what Google publishes of TPUs (cloud.google.com/tpu/docs) and NVIDIA of GPUs (data sheets).

`target` describes a GPU to its compiler in the text form of XLA's GpuTargetConfigProto.
"""

from typing import NamedTuple

from moral_jax.runtime.jax_setup import GPU_SHARE

GIB = 2**30


class Gpu(NamedTuple):
    """What the compiler must know of a GPU: the data sheet, and its row in the CUDA programming guide."""

    name: str
    capability: tuple[int, int]
    cores: int  # streaming multiprocessors
    clock_ghz: float
    memory: int  # bytes, as CUDA reports them
    l2_mib: int
    lanes: int  # float32 units of a core
    threads: int  # of a core at a time
    shared_kib: int  # shared memory of a core


class Chip(NamedTuple):
    """One chip; rates are peaks."""

    name: str
    bf16_flops: float  # per second, dense, summed in float32
    hbm_gib: float  # that a program may use
    hbm_bytes: float  # per second
    link_bytes: float  # per second through one link, in one direction
    links: int
    gpu: Gpu | None = None


def _gpu(gpu: Gpu, bf16_flops: float, hbm_bytes: float, link_bytes: float, links: int) -> Chip:
    """Returns the chip of a GPU; a process of ours takes `GPU_SHARE` of its memory."""
    limit = round(GPU_SHARE * gpu.memory / GIB, 1)
    return Chip(gpu.name, bf16_flops, limit, hbm_bytes, link_bytes, links, gpu)


H100 = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 132, 1.98, 84_929_347_584, 50, 128, 2048, 228)
H200 = H100._replace(name="NVIDIA H200", memory=150_121_545_728)
A100 = Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 108, 1.41, 85_100_068_864, 40, 64, 2048, 164)
L4 = Gpu("NVIDIA L4", (8, 9), 58, 2.04, 23_650_000_000, 48, 128, 1536, 100)
RTX_4090 = Gpu("NVIDIA GeForce RTX 4090", (8, 9), 128, 2.52, 25_390_000_000, 72, 128, 1536, 100)
CHIPS = {
    "v4": Chip("TPU v4", 275e12, 32, 1.228e12, 45e9, 6),
    "v5e": Chip("TPU v5e", 197e12, 16, 0.819e12, 45e9, 4),
    "v5p": Chip("TPU v5p", 459e12, 95, 2.765e12, 90e9, 6),
    "v6e": Chip("TPU v6e", 918e12, 32, 1.640e12, 90e9, 4),
    # links of NVLink; L4 and RTX 4090 have 16 lanes of PCIe 4 only
    "h100": _gpu(H100, 989e12, 3.352e12, 25e9, 18),
    "h200": _gpu(H200, 989e12, 4.8e12, 25e9, 18),
    "a100": _gpu(A100, 312e12, 2.039e12, 25e9, 12),
    "l4": _gpu(L4, 121e12, 0.300e12, 31.5e9, 1),
    "4090": _gpu(RTX_4090, 165e12, 1.008e12, 31.5e9, 1),
}
CUDA, CUDNN = (12, 8), (9, 7)  # the oldest that JAX 0.12 runs on
TARGET = """\
gpu_device_info {{
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: {gpu.threads}
  shared_memory_per_block: 49152  shared_memory_per_block_optin: {optin}  shared_memory_per_core: {shared}
  core_count: {gpu.cores}  fpus_per_core: {gpu.lanes}  clock_rate_ghz: {gpu.clock_ghz}
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}  device_memory_size: {gpu.memory}  l2_cache_size: {l2}
  cuda_compute_capability {{ major: {gpu.capability[0]}  minor: {gpu.capability[1]} }}
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: {dnn[0]}  minor: {dnn[1]} }}
runtime_version {{ major: {cuda[0]}  minor: {cuda[1]}  patch: 0 }}
device_description_str: "{gpu.name}"
"""


def target(chip: Chip) -> str:
    """Returns the description of a GPU that its compiler takes."""
    gpu = chip.gpu
    assert gpu, "a GPU"
    shared = gpu.shared_kib * 1024
    return TARGET.format(
        gpu=gpu,
        shared=shared,
        optin=shared - 1024,  # a block may have all but the kibibyte that CUDA keeps
        bandwidth=round(chip.hbm_bytes),
        l2=gpu.l2_mib * 2**20,
        dnn=CUDNN,
        cuda=CUDA,
    )
