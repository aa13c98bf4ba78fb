"""Causal attention over packed rows, with grouped heads and an optional sliding window."""

import jax
import jax.numpy as jnp

from moral_jax.types import NEG, Array


def _block(q_BKGTH: Array, k_BKSH: Array, v_BKSH: Array, mask_BTS: Array) -> Array:
    """One block of queries against the keys that it may see. The G heads that share a key are folded into rows,
    so that K and V are never repeated and each product is one plain matrix product per (batch, key head)."""
    B, K, G, T, H = q_BKGTH.shape
    scores = jnp.matmul(q_BKGTH.reshape(B, K, G * T, H), k_BKSH.swapaxes(-1, -2))
    # float32: the sum over up to thousands of exponentials must not round
    scores = scores.astype(jnp.float32).reshape(B, K, G, T, -1) * (H**-0.5)
    weights = jax.nn.softmax(jnp.where(mask_BTS[:, None, None], scores, NEG), axis=-1).astype(v_BKSH.dtype)
    return jnp.matmul(weights.reshape(B, K, G * T, -1), v_BKSH).reshape(B, K, G, T, H)


def causal_attention(
    q_BTNH: Array,
    k_BTKH: Array,
    v_BTKH: Array,
    segments_BT: Array,
    ends_BT: Array,
    positions_BT: Array,
    *,
    window: int | None,
    block: int = 128,
) -> Array:
    """Softmax attention to earlier tokens of the same question, and to the beginning that questions share.

    Segments are numbered in row order and may nest: a key of segment s and end e is seen by queries of segments
    s .. e - 1. A question has e = s + 1; a shared beginning ends after the last question that shares it.
    Queries go in blocks, and keys after a block are not computed at all. At most 16 blocks are made, so that the
    compiled program stays small for long rows.

    Args:
      q_BTNH, k_BTKH, v_BTKH: N must be a multiple of K; query head n reads key head n // (N // K).
      segments_BT, ends_BT: as above.
      positions_BT: place of a token in its question, which is what a window counts.
      window: a position sees itself and the window - 1 before it; None sees all.
      block: smallest number of queries in a block.

    Returns:
      [B, T, N, H] in the dtype of v.
    """
    B, T, N, H = q_BTNH.shape
    K = k_BTKH.shape[2]
    block = max(block, -(-T // 16))
    q_BKGTH = q_BTNH.reshape(B, T, K, N // K, H).transpose(0, 2, 3, 1, 4)
    k_BKSH, v_BKSH = k_BTKH.swapaxes(1, 2), v_BTKH.swapaxes(1, 2)
    outputs = []
    for start in range(0, T, block):
        stop = min(start + block, T)
        mask_TS = jnp.arange(start, stop)[:, None] >= jnp.arange(stop)[None, :]
        segment_BT1 = segments_BT[:, start:stop, None]
        mask_BTS = mask_TS & (segments_BT[:, None, :stop] <= segment_BT1) & (segment_BT1 < ends_BT[:, None, :stop])
        if window is not None:
            mask_BTS &= positions_BT[:, start:stop, None] - positions_BT[:, None, :stop] < window
        outputs.append(_block(q_BKGTH[:, :, :, start:stop], k_BKSH[:, :, :stop], v_BKSH[:, :, :stop], mask_BTS))
    out_BKGTH = jnp.concatenate(outputs, axis=3)
    return out_BKGTH.transpose(0, 3, 1, 2, 4).reshape(B, T, N, H)
