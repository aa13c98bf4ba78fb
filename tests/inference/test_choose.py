"""The next token: which may be chosen, how often each is, and what is said of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from moral_jax.inference.choose import Settings, choose
from moral_jax.inference.sampler import uniforms


def settings(count, temperature=1.0, top_p=1.0, top_k=0, min_p=0.0):
    columns = (temperature, np.float32), (top_p, np.float32), (top_k, np.int32), (min_p, np.float32)
    return Settings(*(np.broadcast_to(x, count).astype(t) for x, t in columns))


def kept_by_hand(logits, temperature=1.0, top_p=1.0, top_k=0, min_p=0.0):
    """Temperature, top-k, top-p of what is left, min-p, by sorting: the renormalised probabilities."""
    order = np.argsort(-logits, kind="stable")
    p = np.exp((logits - logits.max()) / temperature)[order]
    if top_k:
        p[top_k:] = 0
    p /= p.sum()
    if top_p < 1:
        p[1:][np.cumsum(p)[:-1] >= top_p] = 0
    p[p < min_p * p[0]] = 0
    out = np.zeros_like(p)
    out[order] = p / p.sum()
    return out


CASES = [
    {},
    {"temperature": 0.7},
    {"top_k": 7},
    {"top_p": 0.8},
    {"min_p": 0.2},
    {"temperature": 1.5, "top_k": 50, "top_p": 0.9, "min_p": 0.01},
    {"top_p": 0.0},
    {"top_k": 1},
]


CHOOSE = jax.jit(choose)  # settings are data: one program for all


@pytest.mark.parametrize("case", CASES, ids=str)
def test_draws_have_the_distribution(case):
    """Chi-square of 4,000 draws; none falls on a token that is left out."""
    rng, draws, V = np.random.default_rng(1), 4_000, 300
    logits = rng.normal(size=V).astype(np.float32) * 2
    want = kept_by_hand(logits.astype(np.float64), **case)
    zeros = np.zeros(draws, np.uint32)
    u = uniforms(0, zeros, zeros, np.arange(draws), 1)[0]
    chosen = CHOOSE(jnp.broadcast_to(logits, (draws, V)), u, settings(draws, **case))
    counted = np.bincount(chosen.token_S, minlength=V)
    assert (counted[want == 0] == 0).all()
    likely = want * draws >= 5
    seen, expected = counted[likely], want[likely] * draws
    if likely.sum() > 1:
        rest = [draws - seen.sum(), draws - expected.sum()]
        if rest[1] > 5:
            seen, expected = np.append(seen, rest[0]), np.append(expected, rest[1])
        assert stats.chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 1e-3
    np.testing.assert_allclose(chosen.sampled_logp_S, np.log(want[chosen.token_S]), atol=1e-4)
    full = kept_by_hand(logits.astype(np.float64), temperature=case.get("temperature", 1.0))
    np.testing.assert_allclose(chosen.logp_S, np.log(full)[chosen.token_S], atol=1e-4)


def test_temperature_0_is_the_likeliest_and_says_its_probability_at_1():
    logits = np.random.default_rng(0).normal(size=(5, 70)).astype(np.float32)
    chosen = choose(logits, np.full(5, 0.99, np.float32), settings(5, temperature=0.0))
    assert (chosen.token_S == logits.argmax(-1)).all()
    np.testing.assert_allclose(chosen.logp_S, np.asarray(jax.nn.log_softmax(logits)).max(-1), atol=1e-6)
    assert (chosen.sampled_logp_S == 0).all()


def test_texts_with_other_settings_share_a_program_and_change_nothing():
    rng = np.random.default_rng(0)
    logits, u = rng.normal(size=(4, 70)).astype(np.float32), rng.uniform(size=4).astype(np.float32)
    alone = [choose(logits[i : i + 1], u[i : i + 1], settings(1, **CASES[i])) for i in range(4)]
    mixed = Settings(*(np.concatenate(x) for x in zip(*(settings(1, **c) for c in CASES[:4]), strict=True)))
    together = choose(logits, u, mixed)
    for i in range(4):
        for one, several in zip(alone[i], together, strict=True):
            assert float(one[0]) == pytest.approx(float(several[i]), abs=1e-6)


@pytest.mark.parametrize("u", [0.0, np.nextafter(np.float32(1), np.float32(0))])
def test_a_token_without_probability_is_never_chosen(u):
    """Far below in float32 p is 0, at both ends of the vocabulary and of blocks."""
    logits = np.full((1, 1000), -500.0, np.float32)
    logits[0, [255, 256, 700]] = 1.0
    assert int(choose(logits, np.float32([u]), settings(1)).token_S[0]) == (255 if u == 0 else 700)


def test_ties_at_the_threshold_are_all_kept():
    logits = jnp.array([[2.0, 1.0, 1.0, 0.0]])
    chosen = choose(logits, jnp.array([0.999]), settings(1, top_k=2))
    assert int(chosen.token_S[0]) == 2
    np.testing.assert_allclose(chosen.sampled_logp_S, 1 - np.log(np.exp([2, 1, 1]).sum()), atol=1e-6)


def test_random_numbers_are_of_seed_prompt_sample_and_place():
    base = np.asarray(uniforms(0, np.uint32([7, 7, 8]), np.int32([0, 1, 0]), np.int32([0, 0, 0]), 4))
    assert len(set(base.ravel().tolist())) == 12
    later = np.asarray(uniforms(0, np.uint32([8, 7]), np.int32([0, 0]), np.int32([2, 1]), 2))
    assert (later[:, 0] == base[2:, 2]).all()
    assert (later[:, 1] == base[1:3, 0]).all()
    assert (np.asarray(uniforms(1, np.uint32([7]), np.int32([0]), np.int32([0]), 1)) != base[0, 0]).all()


def test_what_is_left_out_is_what_its_tokens_gain():
    """Of probabilities .5, .3, .15, .05: top-p .8 keeps .8 of them, .9 keeps .95; a temperature of .7 sharpens them."""
    logits, u = jnp.log(jnp.array([[0.5, 0.3, 0.15, 0.05]])), jnp.array([0.0])
    for top_p, gained in ((0.8, 0.223144), (0.9, -np.log(0.95)), (1.0, 0.0)):
        chosen = choose(logits, u, settings(1, top_p=top_p))
        assert float(chosen.sampled_logp_S[0] - chosen.logp_S[0]) == pytest.approx(gained, abs=1e-6)
    for place, want in enumerate((0.588797, 0.283817, 0.105438, 0.021948)):
        before = sum((0.588797, 0.283817, 0.105438, 0.021948)[:place])
        chosen = choose(logits, jnp.array([before + want / 2]), settings(1, temperature=0.7))
        assert int(chosen.token_S[0]) == place
        assert float(jnp.exp(chosen.logp_S[0])) == pytest.approx(want, abs=1e-6)


def test_nothing_is_sorted():
    """A sort over the vocabulary is slow on a TPU."""
    program = str(jax.make_jaxpr(choose)(jnp.zeros((2, 300)), jnp.zeros(2), settings(2)))
    assert "exp" in program
    assert not {"sort[", "top_k[", "approx_top_k["} & set(program.replace("[", "[ ").split())
