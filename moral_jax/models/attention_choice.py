"""Chooses an implementation of attention. Before cuDNN is used, `_probe` compares it with the plain one."""

import functools

import jax
import jax.numpy as jnp

from moral_jax import sharding
from moral_jax.config.model import MeshConfig
from moral_jax.models.attention import SPLASH_BLOCK, cudnn_attention, plain_attention
from moral_jax.models.spec import ComputeOptions, Spec, pattern_of
from moral_jax.types import Tokens, UserError

PREFERRED = {"tpu": "splash", "gpu": "cudnn", "cpu": "plain"}


def _obstacle(name: str, platform: str, spec: Spec, dtype: str, length: int) -> str:
    """Returns why an implementation cannot be used; empty if it can."""
    if name != "plain" and spec.distances:
        return f"{name} weighs no distances between tokens, as {spec.family} needs"
    if name == "splash":
        if platform != "tpu":
            return f"splash runs on TPU, not on {platform}"
        if length % SPLASH_BLOCK:
            return f"splash needs rows of a multiple of {SPLASH_BLOCK} tokens, not config.data.length={length}"
    if name == "cudnn":
        if platform != "gpu":
            return f"cudnn runs on GPU, not on {platform}"
        if dtype == "float32":
            return "cudnn needs config.model.dtype='bfloat16'"
        if spec.score_softcap:
            return f"cudnn caps no scores, as {spec.family} needs"
        return _probe(spec, dtype)
    return ""


def _probe(spec: Spec, dtype: str) -> str:
    """Compares cuDNN with plain attention on a tiny input; returns what is wrong, empty if nothing is."""
    mesh = sharding.make_mesh(MeshConfig(), jax.local_devices()[:1])
    how = ComputeOptions(mesh=mesh, dtype=dtype, product_dtype=dtype)
    rngs = jax.random.split(jax.random.key(0), 3)
    shapes = [(1, 128, heads, spec.head_size) for heads in (spec.heads, spec.kv_heads, spec.kv_heads)]
    q, k, v = (jax.random.normal(rng, shape, dtype) for rng, shape in zip(rngs, shapes, strict=True))
    segments_BT = jnp.where(jnp.arange(128) < 50, 1, 2)[None]
    positions_BT = jnp.where(segments_BT == 1, jnp.arange(128), jnp.arange(128) - 50)
    outputs = []
    for attend in (plain_attention, cudnn_attention):
        run = jax.jit(functools.partial(attend, pattern=pattern_of(spec, spec.kinds[0].window), how=how))
        try:
            outputs.append(run(q, k, v, Tokens(None, segments_BT, segments_BT + 1, positions_BT)).astype(jnp.float32))
        except (jax.errors.JaxRuntimeError, RuntimeError, ValueError, NotImplementedError) as e:
            return f"cuDNN refuses it ({str(e).splitlines()[0]})"
    error = float(jnp.max(jnp.abs(outputs[0] - outputs[1])))
    return "" if error < 0.05 else f"cuDNN differs from the plain computation by {error:.3f}"


def choose(asked: str | None, platform: str, spec: Spec, dtype: str, length: int) -> tuple[str, str]:
    """Returns the implementation to use, and why it is not the one that the platform prefers (empty if it is).

    Args:
      asked: the implementation that the config asks for; None: the preferred one, or plain where that cannot be used.

    Raises:
      UserError: the config asks for an implementation that cannot be used.
    """
    name = asked or PREFERRED[platform]
    obstacle = _obstacle(name, platform, spec, dtype, length)
    if not obstacle:
        return name, ""
    if asked:
        raise UserError(f"config.model.attention={asked!r}: {obstacle}")
    return "plain", obstacle
