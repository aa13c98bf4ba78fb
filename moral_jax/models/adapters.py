"""Low-rank adapters beside frozen matrices: LoRA (arXiv 2106.09685), rsLoRA (2312.03732), DoRA (2402.09353).

The adapter of a kernel [in, out] has two factors, `a` [in, R] and `b` [R, out]; DoRA adds a `magnitude` [out]. They are
stacked over layers like their kernel. All are float32, because an update of a thousandth of a weight is lost in
bfloat16. Code that computes with adapters takes them from `scaled`, which multiplies the scaling into `b`.
"""

import functools
import math
import operator
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from moral_jax.config.model import AdapterConfig
from moral_jax.models import parameters, quantize
from moral_jax.models.product import EXACT, product
from moral_jax.models.spec import Spec
from moral_jax.types import Array, Params


def leaves(config: AdapterConfig) -> tuple[str, ...]:
    """Returns the names of an adapter's arrays."""
    return ("a", "b", "magnitude") if config.kind == "dora" else ("a", "b")


def scaling(config: AdapterConfig) -> float:
    """Returns the factor of an adapter's product: alpha / rank, or alpha / sqrt(rank) in rsLoRA."""
    return config.alpha / (config.rank if config.scaling == "rank" else math.sqrt(config.rank))


def entries(spec: Spec, config: AdapterConfig) -> list[parameters.Entry]:
    """Returns the kernels that have an adapter."""
    return [
        entry
        for entry in parameters.entries(spec, config.first_layer)
        if entry.path.endswith("/kernel")
        and entry.layers is not None
        and entry.layers.start >= config.first_layer
        and re.fullmatch(config.targets, entry.projection)
    ]


def _at(tree: Params, path: str) -> Any:
    return functools.reduce(operator.getitem, path.split("/"), tree)


def fresh(backbone: Params, spec: Spec, config: AdapterConfig, rng: Array) -> Params:
    """Returns new adapters, which change nothing yet.

    `a` is uniform in +-1 / sqrt(in), as in PEFT, and `b` is zero. A magnitude is the length of its kernel's weights.

    Args:
      backbone: parameters of the decoder or encoder, with the kernels that the adapters belong to.
    """
    adapted = entries(spec, config)
    arrays = {}
    for entry, key in zip(adapted, jax.random.split(rng, len(adapted)), strict=True):
        kernel = quantize.restored(_at(backbone, entry.path), "float32")
        *stack, rows, columns = kernel.shape
        prefix = entry.path.removesuffix("kernel")
        uniform = jax.random.uniform(key, (*stack, rows, config.rank), jnp.float32, -1, 1)
        arrays[f"{prefix}a"] = uniform / math.sqrt(rows)
        arrays[f"{prefix}b"] = jnp.zeros((*stack, config.rank, columns), jnp.float32)
        if config.kind == "dora":
            arrays[f"{prefix}magnitude"] = _lengths(kernel)
    return traverse_util.unflatten_dict(arrays, sep="/")


def scaled(adapters: Params, config: AdapterConfig) -> Params:
    """Returns adapters with the scaling multiplied into every `b`."""
    factor = scaling(config)
    return jax.tree_util.tree_map_with_path(lambda path, x: x * factor if path[-1].key == "b" else x, adapters)


def _sum(kernel: Array | Params, adapter: Mapping[str, Any]) -> Array:
    """Returns kernel + a @ b, float32; a magnitude is not applied."""
    return quantize.restored(kernel, "float32") + jnp.matmul(adapter["a"], adapter["b"], precision=EXACT)


def _lengths(kernel: Array) -> Array:
    """Returns the length of each output's weights, [out]; never zero, so that they can be divided by it."""
    return jnp.maximum(jnp.linalg.norm(kernel, axis=-2), jnp.finfo(jnp.float32).tiny)


def add(y: Array, x: Array, kernel: Array | Params, adapter: Mapping[str, Any], product_dtype: str) -> Array:
    """Adds an adapter's part to y [rows, out], which its kernel alone gives for x [rows, in].

    In DoRA each output's weights are rescaled to the length in its magnitude. Their length before that counts as a
    constant in the gradient (section 4.3 of the paper).
    """
    y = y + product(product(x, adapter["a"], product_dtype), adapter["b"], product_dtype)
    if "magnitude" not in adapter:
        return y
    lengths = jax.lax.stop_gradient(_lengths(_sum(kernel, adapter)))
    return y * (adapter["magnitude"] / lengths).astype(y.dtype)


def merged(kernel: Array | Params, adapter: Params) -> Array:
    """Returns one float32 kernel that replaces a kernel and its adapter."""
    kernel = _sum(kernel, adapter)
    if "magnitude" not in adapter:
        return kernel
    return kernel * (adapter["magnitude"] / _lengths(kernel))[..., None, :]
