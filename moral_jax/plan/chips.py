"""TPU generations as data: Google's published figures per chip (cloud.google.com/tpu/docs)."""

from typing import NamedTuple


class Chip(NamedTuple):
    """One chip; rates are peaks."""

    name: str
    bf16_flops: float  # per second
    hbm_gib: float
    hbm_bytes: float  # per second
    link_bytes: float  # per second through one link, in one direction
    links: int


CHIPS = {
    "v4": Chip("TPU v4", 275e12, 32, 1.228e12, 45e9, 6),
    "v5e": Chip("TPU v5e", 197e12, 16, 0.819e12, 45e9, 4),
    "v5p": Chip("TPU v5p", 459e12, 95, 2.765e12, 90e9, 6),
    "v6e": Chip("TPU v6e", 918e12, 32, 1.640e12, 90e9, 4),
}
