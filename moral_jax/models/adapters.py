"""Low-rank adapters beside frozen matrices: LoRA (arXiv 2106.09685), rsLoRA (2312.03732), DoRA (2402.09353).

The adapter of a kernel [in, out] is `a` [in, R] and `b` [R, out], and in DoRA a `magnitude` [out]; stacked over layers
as the kernel is. All are float32, because an update of a thousandth of a weight is lost in bfloat16. What computes with
them takes `b` from `scaled`.
"""

import functools
import math
import operator
import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from moral_jax.config.model import AdapterConfig
from moral_jax.models import parameters, quantize
from moral_jax.models.product import product
from moral_jax.models.spec import DecoderSpec
from moral_jax.types import Array, Params


def leaves(config: AdapterConfig) -> tuple[str, ...]:
    """What an adapter is made of."""
    return ("a", "b", "magnitude") if config.kind == "dora" else ("a", "b")


def scaling(config: AdapterConfig) -> float:
    """What an adapter's product is multiplied by."""
    return config.alpha / (config.rank if config.scaling == "rank" else math.sqrt(config.rank))


def entries(spec: DecoderSpec, config: AdapterConfig) -> list[parameters.Entry]:
    """The kernels that have an adapter."""
    return [
        entry
        for entry in parameters.entries(spec, config.first_layer)
        if entry.path.endswith("/kernel")
        and entry.layers.start >= config.first_layer
        and re.fullmatch(config.targets, entry.projection)
    ]


def _at(tree: Params, path: str) -> Any:
    return functools.reduce(operator.getitem, path.split("/"), tree)


def fresh(decoder: Params, spec: DecoderSpec, config: AdapterConfig, rng: Array) -> Params:
    """Adapters that change nothing yet: `a` uniform in +-1 / sqrt(in), as PEFT draws it, `b` zero, and the magnitude
    what it is without them.

    Args:
      decoder: the parameters that they stand beside.
    """
    chosen = entries(spec, config)
    made = {}
    for entry, key in zip(chosen, jax.random.split(rng, len(chosen)), strict=True):
        kernel = quantize.restored(_at(decoder, entry.path), "float32")
        *stack, rows, columns = kernel.shape
        where = entry.path.removesuffix("kernel")
        made[f"{where}a"] = jax.random.uniform(key, (*stack, rows, config.rank), jnp.float32, -1, 1) / math.sqrt(rows)
        made[f"{where}b"] = jnp.zeros((*stack, config.rank, columns), jnp.float32)
        if config.kind == "dora":
            made[f"{where}magnitude"] = _lengths(kernel)
    return traverse_util.unflatten_dict(made, sep="/")


def scaled(adapters: Params, config: AdapterConfig) -> Params:
    """The same with the scaling multiplied into every `b`."""
    factor = scaling(config)
    return jax.tree_util.tree_map_with_path(lambda path, x: x * factor if path[-1].key == "b" else x, adapters)


def _sum(kernel: Array | Params, adapter: Params) -> Array:
    return quantize.restored(kernel, "float32") + adapter["a"] @ adapter["b"]


def _lengths(kernel: Array) -> Array:
    """Of each output's weights, [out]; no output divides by zero, though all its weights be."""
    return jnp.maximum(jnp.linalg.norm(kernel, axis=-2), jnp.finfo(jnp.float32).tiny)


def add(y: Array, x: Array, kernel: Array | Params, adapter: Params, product_dtype: str) -> Array:
    """What a map with an adapter gives, [rows, out], where its kernel alone gives y for x [rows, in].

    In DoRA each output's weights have the length that its magnitude says. The length that they have without it counts
    as a constant in the gradient (section 4.3 of the paper).
    """
    y = y + product(product(x, adapter["a"], product_dtype), adapter["b"], product_dtype)
    if "magnitude" not in adapter:
        return y
    lengths = jax.lax.stop_gradient(_lengths(_sum(kernel, adapter)))
    return y * (adapter["magnitude"] / lengths).astype(y.dtype)


def merged(kernel: Array | Params, adapter: Params) -> Array:
    """One kernel, float32, that does what kernel and adapter do together."""
    kernel = _sum(kernel, adapter)
    if "magnitude" not in adapter:
        return kernel
    return kernel * (adapter["magnitude"] / _lengths(kernel))[..., None, :]
