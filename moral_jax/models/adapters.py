"""Low-rank adapters beside frozen matrices: LoRA (arXiv 2106.09685), rsLoRA (arXiv 2312.03732).

The adapter of a kernel [in, out] is `a` [in, R] and `b` [R, out], stacked over layers as the kernel is. Both float32,
because an update of a thousandth of a weight is lost in bfloat16. What computes with them takes `b` from `scaled`.
"""

import math
import re

import jax
import jax.numpy as jnp
from flax import traverse_util

from moral_jax.config import AdapterConfig
from moral_jax.models.spec import DecoderSpec
from moral_jax.types import Array, Params
from moral_jax.weights import keymap


def leaves(config: AdapterConfig) -> tuple[str, ...]:
    """What an adapter is made of."""
    return ("a", "b")


def scaling(config: AdapterConfig) -> float:
    """What an adapter's product is multiplied by."""
    return config.alpha / (config.rank if config.scaling == "rank" else math.sqrt(config.rank))


def entries(spec: DecoderSpec, config: AdapterConfig) -> list[keymap.Entry]:
    """The kernels that have an adapter."""
    return [
        entry
        for entry in keymap.entries(spec)
        if entry.path.endswith("/kernel")
        and entry.layers.start >= config.first_layer
        and re.fullmatch(config.targets, entry.projection)
    ]


def fresh(decoder: Params, spec: DecoderSpec, config: AdapterConfig, rng: Array) -> Params:
    """Adapters that change nothing yet: `a` uniform in +-1 / sqrt(in), as PEFT draws it, and `b` zero.

    Args:
      decoder: the parameters that they stand beside, for their shapes.
    """
    kernels = traverse_util.flatten_dict(decoder, sep="/")
    chosen = entries(spec, config)
    made = {}
    for entry, key in zip(chosen, jax.random.split(rng, len(chosen)), strict=True):
        *stack, rows, columns = kernels[entry.path].shape
        where = entry.path.removesuffix("/kernel")
        made[f"{where}/a"] = jax.random.uniform(key, (*stack, rows, config.rank), jnp.float32, -1, 1) / math.sqrt(rows)
        made[f"{where}/b"] = jnp.zeros((*stack, config.rank, columns), jnp.float32)
    return traverse_util.unflatten_dict(made, sep="/")


def scaled(adapters: Params, config: AdapterConfig) -> Params:
    """The same with the scaling multiplied into every `b`."""
    factor = scaling(config)
    return jax.tree_util.tree_map_with_path(lambda path, x: x * factor if path[-1].key == "b" else x, adapters)


def add(y: Array, x: Array, kernel: Array, adapter: Params) -> Array:
    """What a map with an adapter gives, [rows, out], where its kernel alone gives y for x [rows, in]."""
    return y + (x @ adapter["a"].astype(x.dtype)) @ adapter["b"].astype(x.dtype)


def merged(kernel: Array, adapter: Params) -> Array:
    """One kernel, float32, that does what kernel and adapter do together."""
    return kernel.astype(jnp.float32) + adapter["a"] @ adapter["b"]
