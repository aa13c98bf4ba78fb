"""Attention against a plain loop over queries."""

import jax
import numpy as np
import pytest

from moral_jax.models.attention import causal_attention


def by_hand(q, k, v, segments, ends, positions, window):
    B, T, N, H = q.shape
    out = np.zeros_like(q)
    for b in range(B):
        for t in range(T):
            seen = [
                s
                for s in range(t + 1)
                if segments[b, s] <= segments[b, t] < ends[b, s]
                and (window is None or positions[b, t] - positions[b, s] < window)
            ]
            for n in range(N):
                kv = n // (N // k.shape[2])
                scores = k[b, seen, kv] @ q[b, t, n] / np.sqrt(H)
                weights = np.exp(scores - scores.max())
                out[b, t, n] = (weights / weights.sum()) @ v[b, seen, kv]
    return out


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("block", [128, 8])
def test_equals_a_plain_loop(window, block):
    rng = np.random.default_rng(0)
    B, T, N, K, H = 2, 40, 4, 2, 6
    q, k, v = (rng.normal(size=(B, T, n, H)).astype(np.float32) for n in (N, K, K))
    # a shared beginning of 5 that three questions see, and a row with plain segments
    segments = np.array([[1] * 5 + [2] * 12 + [3] * 13 + [4] * 10, [1] * 20 + [2] * 20], np.int32)
    ends = np.array([[5] * 5 + [3] * 12 + [4] * 13 + [5] * 10, [2] * 20 + [3] * 20], np.int32)
    positions = np.array([[*range(5), *range(5, 17), *range(5, 18), *range(5, 15)], [*range(20), *range(20)]], np.int32)
    got = causal_attention(q, k, v, segments, ends, positions, window=window, block=block)
    np.testing.assert_allclose(got, by_hand(q, k, v, segments, ends, positions, window), atol=2e-6)


def test_no_gradient_flows_from_later_or_foreign_positions():
    rng = np.random.default_rng(1)
    q, k, v = (rng.normal(size=(1, 12, n, 4)).astype(np.float32) for n in (2, 1, 1))
    segments = np.array([[1] * 6 + [2] * 6], np.int32)
    positions = np.array([[*range(6), *range(6)]], np.int32)

    def at(t, v):
        return causal_attention(q, k, v, segments, segments + 1, positions, window=None, block=4)[0, t].sum()

    reach = np.abs(jax.grad(at, argnums=1)(8, v))[0].sum((-1, -2)) > 0
    assert reach.tolist() == [False] * 6 + [True] * 3 + [False] * 3
