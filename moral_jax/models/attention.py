"""Attention over packed rows with grouped heads: one mask, three implementations.

`mask` defines who is seen: a query sees the tokens of its own question, and the prefixes that the question shares with
others. Plain matrix products apply it on every platform, the Pallas splash kernel on TPU, cuDNN on GPU;
`attention_choice` picks one. The last layer has queries at the read positions only and uses `read_attention`, plain
products everywhere.

The three implementations take these arguments, return [B, T, N, H] in the dtype of v, and agree up to rounding:

  q_BTNH, k_BTKH, v_BTKH: N must be a multiple of K; query head n reads key head n // (N // K).
  tokens, pattern: the mask, as `mask.visible` defines it.
  how: compute options: the mesh that cuts rows and heads, and the type that operands of products are rounded to.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash

from moral_jax import sharding
from moral_jax.models import disentangled
from moral_jax.models.mask import keys_of, places, sees, take_positions, visible
from moral_jax.models.product import float32_product, product
from moral_jax.models.spec import AttentionPattern, ComputeOptions
from moral_jax.types import NEG, Array, Tokens

SPLASH_BLOCK = 128  # the length of rows must be a multiple of it
SAVED = "attention"  # name of what the splash kernel's backward pass reads, for remat policies


def scaled(scores: Array, head_size: int, pattern: AttentionPattern) -> Array:
    """Returns attention scores, scaled and capped as a model has them."""
    scores = scores * (head_size**-0.5 if pattern.scale is None else pattern.scale)
    return scores if pattern.softcap is None else pattern.softcap * jnp.tanh(scores / pattern.softcap)


def _block(
    q_BKGTH: Array,
    k_BKSH: Array,
    v_BKSH: Array,
    mask_BTS: Array,
    pattern: AttentionPattern,
    product_dtype: str,
    added: Array | float,
) -> Array:
    """Attends from one block of queries to the keys that it may see.

    The G heads that share a key head are folded into rows. So K and V are never repeated, and each product is one plain
    matrix product per (batch, key head).
    """
    B, K, G, T, H = q_BKGTH.shape
    # float32: neither scores of 20 and more nor the sum over up to thousands of exponentials may round
    scores = float32_product(q_BKGTH.reshape(B, K, G * T, H), k_BKSH.swapaxes(-1, -2), product_dtype)
    scores = scaled(scores.reshape(B, K, G, T, -1) + added, H, pattern)
    weights = jax.nn.softmax(jnp.where(mask_BTS[:, None, None], scores, NEG), axis=-1).astype(v_BKSH.dtype)
    return product(weights.reshape(B, K, G * T, -1), v_BKSH, product_dtype).reshape(B, K, G, T, H)


def _folded(q_BTNH: Array, k_BTKH: Array, v_BTKH: Array) -> tuple[Array, Array, Array]:
    """Returns q, k and v in the layout of `_block`."""
    B, T, N, H = q_BTNH.shape
    K = k_BTKH.shape[2]
    q_BKGTH = q_BTNH.reshape(B, T, K, N // K, H).transpose(0, 2, 3, 1, 4)
    return q_BKGTH, k_BTKH.swapaxes(1, 2), v_BTKH.swapaxes(1, 2)


def _unfolded(out_BKGTH: Array) -> Array:
    """Returns the output of `_block` as [B, T, N, H]."""
    B, K, G, T, H = out_BKGTH.shape
    return out_BKGTH.transpose(0, 3, 1, 2, 4).reshape(B, T, K * G, H)


def plain_attention(
    q_BTNH: Array,
    k_BTKH: Array,
    v_BTKH: Array,
    tokens: Tokens,
    pattern: AttentionPattern,
    how: ComputeOptions,
    distances: disentangled.Projected | None = None,
    *,
    block: int = 128,
) -> Array:
    """Attends by plain matrix products, in blocks of queries. Only this one weighs `distances`.

    Where `tokens` list the keys that blocks see, no others are computed. Otherwise a block has at least `block`
    queries, and keys after its last one are left out if none may be seen. There are at most 16 blocks, so that the
    compiled program stays small for long rows.
    """
    if tokens.keys_BJU is not None:
        return _listed_attention(q_BTNH, k_BTKH, v_BTKH, tokens, tokens.keys_BJU, pattern, how, distances)
    T = q_BTNH.shape[1]
    block = max(block, -(-T // 16))
    q_BKGTH, k_BKSH, v_BKSH = _folded(q_BTNH, k_BTKH, v_BTKH)
    outputs = []
    for start in range(0, T, block):
        queries = slice(start, min(start + block, T))
        mask_BTS = visible(tokens, pattern, queries)
        keys = keys_of(pattern, queries, T)
        k, v = k_BKSH[:, :, keys], v_BKSH[:, :, keys]
        q = q_BKGTH[:, :, :, queries]
        positions = take_positions(tokens.positions_BT, queries), tokens.positions_BT[:, keys]
        added = _of_distances(q, k, *positions, distances, how)
        outputs.append(_block(q, k, v, mask_BTS, pattern, how.product_dtype, added))
    return _unfolded(jnp.concatenate(outputs, axis=3))


def _listed_attention(
    q_BTNH: Array,
    k_BTKH: Array,
    v_BTKH: Array,
    tokens: Tokens,
    keys_BJU: Array,
    pattern: AttentionPattern,
    how: ComputeOptions,
    distances: disentangled.Projected | None,
) -> Array:
    """Attends from each block of queries to the keys that are listed for it, all blocks in one product."""
    B, T = q_BTNH.shape[:2]
    _, J, U = keys_BJU.shape

    def asking(x_BT: Array) -> Array:
        return x_BT.reshape(B * J, T // J, *x_BT.shape[2:])

    def listed(x_BT: Array) -> Array:
        # an index of -1 takes any key, which the mask hides
        taken = take_positions(x_BT, jnp.maximum(keys_BJU, 0).reshape(B, J * U))
        return taken.reshape(B * J, U, *x_BT.shape[2:])

    row = places(tokens)
    queries, keys = jax.tree.map(asking, row), jax.tree.map(listed, row)
    mask = sees(queries, keys, pattern) & (keys_BJU >= 0).reshape(B * J, 1, U)
    q, k, v = _folded(asking(q_BTNH), listed(k_BTKH), listed(v_BTKH))
    added = _of_distances(q, k, queries.positions, keys.positions, distances, how)
    return _unfolded(_block(q, k, v, mask, pattern, how.product_dtype, added)).reshape(q_BTNH.shape)


def read_attention(
    q_BANH: Array,
    k_BTKH: Array,
    v_BTKH: Array,
    tokens: Tokens,
    read_BA: Array,
    pattern: AttentionPattern,
    how: ComputeOptions,
    distances: disentangled.Projected | None = None,
) -> Array:
    """Attends from the few queries at the read positions, [B, A, N, H], by plain products on every platform."""
    mask_BAS = visible(tokens, pattern, read_BA)
    q, k, v = _folded(q_BANH, k_BTKH, v_BTKH)
    positions = take_positions(tokens.positions_BT, read_BA), tokens.positions_BT
    added = _of_distances(q, k, *positions, distances, how)
    return _unfolded(_block(q, k, v, mask_BAS, pattern, how.product_dtype, added))


def _of_distances(
    q_BKGTH: Array,
    k_BKSH: Array,
    queries_BT: Array,
    keys_BS: Array,
    distances: disentangled.Projected | None,
    how: ComputeOptions,
) -> Array | float:
    """Returns what distances add to the scores of queries and keys at some positions."""
    if distances is None:
        return 0.0
    return disentangled.added(q_BKGTH, k_BKSH, queries_BT, keys_BS, distances, how.product_dtype)


def _splash_blocks(length: int) -> splash.BlockSizes:
    block = next(size for size in (512, 256, SPLASH_BLOCK) if length % size == 0)
    return splash.BlockSizes(
        block_q=block, block_kv=block, block_kv_compute=block,
        block_q_dkv=block, block_kv_dkv=block, block_kv_dkv_compute=block,
        block_q_dq=block, block_kv_dq=block,
    )  # fmt: skip


def splash_attention(
    q_BTNH: Array,
    k_BTKH: Array,
    v_BTKH: Array,
    tokens: Tokens,
    pattern: AttentionPattern,
    how: ComputeOptions,
    *,
    interpret: bool = False,
) -> Array:
    """Attends by the Pallas splash kernel.

    The mask goes in as data, and the kernel skips blocks in which it is False throughout. The query heads of a group
    share one key head, so K and V are not repeated. `interpret` runs the kernel without a TPU.
    """

    def row(args: tuple[Array, ...]) -> Array:
        q_TNH, k_TKH, v_TKH, mask_TS = args
        T, N, H = q_TNH.shape
        K = k_TKH.shape[1]
        q_KGTH = (
            (q_TNH * (H**-0.5 if pattern.scale is None else pattern.scale))
            .reshape(T, K, N // K, H)
            .transpose(1, 2, 0, 3)
        )
        kernel = splash.make_splash_mqa_single_device(
            jnp.broadcast_to(mask_TS, (N // K, T, T)),
            block_sizes=_splash_blocks(T),
            residual_checkpoint_name=SAVED,
            attn_logits_soft_cap=pattern.softcap,
            interpret=interpret,
        )
        # the kernel branches on this flag, but under jit the factory has turned it into a traced array
        kernel.fwd_mask_info = kernel.fwd_mask_info._replace(is_dynamic_mask=True)
        out_KGTH = jax.vmap(kernel)(q_KGTH, k_TKH.swapaxes(0, 1), v_TKH.swapaxes(0, 1))
        return out_KGTH.transpose(2, 0, 1, 3).reshape(T, N, H)

    def local(q: Array, k: Array, v: Array, tokens: Tokens, window: int | Array | None) -> Array:
        mask_BTS = visible(tokens, pattern._replace(window=window), slice(0, q.shape[1]))
        return jax.lax.map(row, (q, k, v, mask_BTS))

    heads, rows = sharding.activation("BTNH", how.mesh).spec, sharding.of_batch(how.mesh, micro_batches=False).spec
    # XLA cannot partition a Pallas kernel, so each device runs it on its own rows and heads
    specs = heads, heads, heads, rows, sharding.WHOLE
    run = jax.shard_map(local, mesh=how.mesh, in_specs=specs, out_specs=heads, check_vma=False)
    return run(q_BTNH, k_BTKH, v_BTKH, tokens, pattern.window)


def cudnn_attention(
    q_BTNH: Array,
    k_BTKH: Array,
    v_BTKH: Array,
    tokens: Tokens,
    pattern: AttentionPattern,
    how: ComputeOptions,
) -> Array:
    """Attends by cuDNN's fused kernel, through JAX; bfloat16 and float16 only. It caps no scores."""
    assert pattern.softcap is None, "another is chosen"
    del how  # JAX partitions this call itself, and operands are not rounded
    mask_BTS = visible(tokens, pattern, slice(0, q_BTNH.shape[1]))
    return jax.nn.dot_product_attention(
        q_BTNH, k_BTKH, v_BTKH, mask=mask_BTS[:, None], scale=pattern.scale, implementation="cudnn"
    )


ATTENTION: dict[str, Callable[..., Array]] = {
    "plain": plain_attention,
    "splash": splash_attention,
    "cudnn": cudnn_attention,
}
