"""Attention against a plain loop over queries."""

import functools

import jax
import numpy as np
import pytest

from moral_jax.data.blocks import list_keys
from moral_jax.models.attention import plain_attention, read_attention, splash_attention
from moral_jax.models.attention_choice import choose
from moral_jax.models.spec import AttentionPattern, ComputeOptions
from moral_jax.types import Tokens, UserError
from tests.helpers import tiny

HOW = ComputeOptions(mesh=tiny.mesh(1, 1, 1))


def by_hand(q, k, v, segments, ends, positions, pattern):
    B, T, N, H = q.shape
    out = np.zeros_like(q)
    for b in range(B):
        for t in range(T):
            seen = [
                s
                for s in range(t + 1 if pattern.causal else T)
                if segments[b, s] <= segments[b, t] < ends[b, s]
                and (pattern.window is None or abs(positions[b, t] - positions[b, s]) < pattern.window)
            ]
            for n in range(N):
                kv = n // (N // k.shape[2])
                scores = k[b, seen, kv] @ q[b, t, n] * (pattern.scale or H**-0.5)
                scores = pattern.softcap * np.tanh(scores / pattern.softcap) if pattern.softcap else scores
                weights = np.exp(scores - scores.max())
                out[b, t, n] = (weights / weights.sum()) @ v[b, seen, kv]
    return out


PATTERNS = [
    AttentionPattern(True, None),
    AttentionPattern(True, 4),
    AttentionPattern(False, None),
    AttentionPattern(False, 4),
    AttentionPattern(True, 4, scale=0.7, softcap=0.5),
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("block", [128, 8])
def test_equals_a_plain_loop(pattern, block):
    rng = np.random.default_rng(0)
    B, T, N, K, H = 2, 40, 4, 2, 6
    q, k, v = (rng.normal(size=(B, T, n, H)).astype(np.float32) for n in (N, K, K))
    # a shared beginning of 5 that three questions see, and a row with plain segments
    segments = np.array([[1] * 5 + [2] * 12 + [3] * 13 + [4] * 10, [1] * 20 + [2] * 20], np.int32)
    ends = np.array([[5] * 5 + [3] * 12 + [4] * 13 + [5] * 10, [2] * 20 + [3] * 20], np.int32)
    positions = np.array([[*range(5), *range(5, 17), *range(5, 18), *range(5, 15)], [*range(20), *range(20)]], np.int32)
    places = Tokens(None, segments, ends, positions)
    want = by_hand(q, k, v, segments, ends, positions, pattern)
    got = plain_attention(q, k, v, places, pattern=pattern, how=HOW, block=block)
    np.testing.assert_allclose(got, want, atol=2e-6)
    answers = np.array([[39, 16, 4], [0, 19, 25]])
    some = [np.take_along_axis(x, answers[..., None, None], axis=1) for x in (q, want)]
    got = read_attention(some[0], k, v, places, answers, pattern, HOW)
    np.testing.assert_allclose(got, some[1], atol=2e-6)


def packed_row(causal):
    """Beginnings that nest (two groups behind one beginning), an empty end; without causality texts side by side."""
    if not causal:
        lengths = np.array([7, 12, 3, 18, 9, 11])
        segments = np.repeat(np.arange(6) + 1, lengths)
        positions = np.concatenate([np.arange(n) for n in lengths])
        empty = np.zeros(64 - len(segments), np.int64)
        return [np.r_[x, empty + pad] for x, pad in ((segments, 0), (segments + 1, 1), (positions, 0))]
    lengths = np.array([5, 6, 4, 7, 9, 3, 10, 8])
    segments = np.repeat(np.arange(8) + 1, lengths)
    ends = np.repeat([9, 5, 4, 5, 6, 9, 8, 9], lengths)
    starts = np.repeat([0, 5, 11, 11, 5, 5, 8, 8], lengths)
    positions = starts + np.concatenate([np.arange(n) for n in lengths])
    empty = np.zeros(64 - len(segments), np.int64)
    return [np.r_[x, empty + pad] for x, pad in ((segments, 0), (ends, 1), (positions, 0))]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("queries", [8, 16])
def test_listed_keys_are_all_that_matter(pattern, queries):
    """Output and gradients equal those of attention to all keys, with a window that is data; few keys are listed."""
    rng = np.random.default_rng(2)
    B, T, N, K, H = 2, 64, 4, 2, 6
    q, k, v, weights = (rng.normal(size=(B, T, n, H)).astype(np.float32) for n in (N, K, K, N))
    rows = [packed_row(pattern.causal), [np.r_[x[:40], 0 * x[:24] + (i == 1)] for i, x in enumerate(packed_row(False))]]
    segments, ends, positions = (np.stack(x).astype(np.int32) for x in zip(*rows, strict=True))
    tokens = Tokens(None, segments, ends, positions, None, np.full((B, T // queries, 48), -1, np.int32))
    list_keys(tokens, not pattern.causal)
    assert 0.1 < (tokens.keys_BJU >= 0).mean() * 48 / T < 0.7
    real = (segments > 0)[..., None, None]

    def loss(q, k, v, window, keys):
        out = plain_attention(q, k, v, tokens._replace(keys_BJU=keys), pattern._replace(window=window), HOW)
        return (jax.numpy.where(real, out, 0) * weights).sum(), out

    run = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    got, want = run(q, k, v, pattern.window, tokens.keys_BJU), run(q, k, v, pattern.window, None)
    np.testing.assert_allclose(got[1][real[..., 0, 0]], want[1][real[..., 0, 0]], atol=1e-6)
    for a, b in zip(got[0], want[0], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_no_gradient_flows_from_later_or_foreign_positions():
    rng = np.random.default_rng(1)
    q, k, v = (rng.normal(size=(1, 12, n, 4)).astype(np.float32) for n in (2, 1, 1))
    segments = np.array([[1] * 6 + [2] * 6], np.int32)
    positions = np.array([[*range(6), *range(6)]], np.int32)

    def at(t, v):
        places = Tokens(None, segments, segments + 1, positions)
        return plain_attention(q, k, v, places, pattern=AttentionPattern(True, None), how=HOW, block=4)[0, t].sum()

    reach = np.abs(jax.jit(jax.grad(at, argnums=1), static_argnums=0)(8, v))[0].sum((-1, -2)) > 0
    assert reach.tolist() == [False] * 6 + [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    "pattern",
    [
        AttentionPattern(True, None),
        AttentionPattern(True, 100),
        AttentionPattern(False, None),
        AttentionPattern(False, 60),
        AttentionPattern(True, 100, scale=0.2, softcap=2.0),
    ],
)
def test_the_splash_kernel_sees_what_the_plain_computation_sees(pattern):
    """Forward and backward, grouped heads, a shared beginning, a window that is data, a cap; cut by rows and heads.
    Interpreted: no TPU."""
    rng = np.random.default_rng(0)
    B, T, N, K, H = 2, 256, 4, 2, 128
    q, k, v = (rng.normal(size=(B, T, n, H)).astype(np.float32) for n in (N, K, K))
    segments = np.array([[1] * 30 + [2] * 100 + [3] * 126, [1] * 140 + [2] * 100 + [0] * 16], np.int32)
    ends = np.where(segments == 1, np.array([[4], [2]]), segments + 1).astype(np.int32)
    starts = np.array([[0] * 30 + [0] * 100 + [100] * 126, [0] * 140 + [140] * 116])
    positions = (np.arange(T) - starts).astype(np.int32)
    weights = rng.normal(size=(B, T, N, H)).astype(np.float32)

    def loss(attend, mesh, q, k, v, window):
        of_layer = pattern._replace(window=window)
        out = attend(q, k, v, Tokens(None, segments, ends, positions), of_layer, ComputeOptions(mesh=mesh))
        return (out * weights)[segments > 0].sum(), out

    def run(attend, mesh):
        return jax.jit(jax.grad(functools.partial(loss, attend, mesh), argnums=(0, 1, 2), has_aux=True))(
            q, k, v, pattern.window
        )

    interpreted = functools.partial(splash_attention, interpret=True)
    got, want = run(interpreted, tiny.mesh(2, 1, 2)), run(plain_attention, tiny.mesh(1, 1, 1))
    real = segments > 0
    np.testing.assert_allclose(got[1][real], want[1][real], atol=2e-5)
    for a, b in zip(got[0], want[0], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(
    ("platform", "dtype", "length", "want", "why"),
    [
        ("tpu", "bfloat16", 512, "splash", ""),
        ("tpu", "float32", 512, "splash", ""),
        ("tpu", "bfloat16", 500, "plain", "multiple of 128"),
        ("cpu", "bfloat16", 512, "plain", ""),
        ("gpu", "float32", 512, "plain", "bfloat16"),
    ],
)
def test_attention_is_chosen_by_platform(platform, dtype, length, want, why):
    name, reason = choose(None, platform, tiny.spec(), dtype, length)
    assert name == want
    assert why in reason
    assert bool(why) == bool(reason)


def test_scores_are_not_capped_by_cudnn():
    capped = tiny.spec(family="gemma2", score_softcap=50.0)
    assert choose(None, "gpu", capped, "bfloat16", 512) == ("plain", "cudnn caps no scores, as gemma2 needs")
    assert choose(None, "tpu", capped, "bfloat16", 512) == ("splash", "")
    with pytest.raises(UserError, match="config.model.attention='cudnn': cudnn caps no scores"):
        choose("cudnn", "gpu", capped, "bfloat16", 512)


def test_an_attention_that_cannot_be_had_is_an_error_when_asked_for():
    with pytest.raises(UserError, match="config.model.attention='splash': splash runs on TPU, not on cpu"):
        choose("splash", "cpu", tiny.spec(), "bfloat16", 512)


def test_cudnn_that_fails_its_probe_is_not_used():
    """No GPU here, so that the probe's call fails: the plain computation, and the reason."""
    if jax.default_backend() == "gpu":
        pytest.skip("cuDNN may well work here")
    name, reason = choose(None, "gpu", tiny.spec(head_size=64), "bfloat16", 512)
    assert name == "plain"
    assert "cuDNN refuses it" in reason
