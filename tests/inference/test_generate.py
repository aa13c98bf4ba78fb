"""The sampler: equal to the whole text computed at once, and to itself in any order and company."""

import dataclasses

import jax
import numpy as np
import pytest

from moral_jax.config.model import AdapterConfig
from moral_jax.config.sample import SampleConfig
from moral_jax.inference import generate
from moral_jax.inference.generate import Prompt
from moral_jax.inference.sampler import Sampler
from moral_jax.models import api, read_out
from tests.helpers import tiny

ENDS = frozenset({5, 11})
KINDS = {
    "llama": {},
    "window": {"sliding_window": 20},
    "untied": {"tied_embeddings": False},
    "one layer": {"layers": 1},
    "no groups": {"kv_heads": 4},
}


def prompts(count, lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [Prompt(rng.integers(0, 97, rng.integers(*lengths)).tolist(), 1000 + i) for i in range(count)]


def replies(params, model, asked, how, **more):
    found = dict(generate.generate(api.cast_for_scoring(params, model), model, asked, how, ENDS, **more))
    return [found[i] for i in range(len(asked))]


def check_logp(params, model, asked, found, temperature, atol=1e-4):
    """The log-probability of every token is that of the whole text computed at once."""
    every = [(p, r) for p, of_prompt in zip(asked, found, strict=True) for r in of_prompt]
    wholes = np.zeros((len(every), max(len(p.tokens) + len(r.tokens) for p, r in every)), np.int32)
    for row, (prompt, reply) in zip(wholes, every, strict=True):
        row[: len(prompt.tokens) + len(reply.tokens)] = [*prompt.tokens, *reply.tokens]
    logits = np.asarray(jax.jit(read_out.vocabulary_logits, static_argnums=1)(params, model, wholes))
    logp = np.asarray(jax.nn.log_softmax(logits / (temperature or 1.0), axis=-1))
    for row, (prompt, reply) in enumerate(every):
        at = np.arange(len(reply.tokens)) + len(prompt.tokens) - 1
        np.testing.assert_allclose(reply.logp, logp[row, at, reply.tokens], atol=atol)
        if temperature == 0:
            assert (logits[row, at].argmax(-1) == reply.tokens).all()


@pytest.mark.parametrize(("kind", "temperature"), [("llama", 0.0), *((kind, 0.7) for kind in KINDS)])
def test_cached_equals_uncached(kind, temperature):
    model = tiny.model(tiny.spec(**KINDS[kind]))
    params, asked = tiny.params(model), prompts(5, (3, 30))
    found = replies(params, model, asked, SampleConfig(n=2, max_tokens=40, temperature=temperature, slots=4))
    check_logp(params, model, asked, found, temperature)


HOWS = {
    "int8": {"quantize": "int8"},
    "nf4 and lora": {"quantize": "nf4", "adapter": AdapterConfig(kind="lora", rank=2)},
    "dora": {"adapter": AdapterConfig(kind="dora", rank=2)},
    "lora in the upper layers": {"adapter": AdapterConfig(kind="lora", rank=2, first_layer=1)},
}


@pytest.mark.parametrize("how", HOWS)
def test_adapters_and_quantised_weights(how):
    model = tiny.model(tiny.spec(width=64, mlp_width=128, head_size=16), **HOWS[how])  # nf4 wants multiples of 64
    params, asked = tiny.params(model), prompts(3, (3, 30))
    check_logp(params, model, asked, replies(params, model, asked, SampleConfig(max_tokens=20, slots=3)), 1.0)


@pytest.fixture(scope="module")
def plain():
    model = tiny.model(tiny.spec())
    return tiny.params(model), model


def same(a, b):
    return all(np.array_equal(x.tokens, y.tokens) for x, y in zip(a, b, strict=True))


def test_order_neighbours_and_halves_change_nothing(plain):
    how = SampleConfig(n=2, max_tokens=40, temperature=1.3, slots=6, seed=3)
    asked = prompts(9, (3, 60))
    whole = replies(*plain, asked, how)
    shuffled = np.random.default_rng(0).permutation(len(asked))
    for place, found in zip(shuffled, replies(*plain, [asked[i] for i in shuffled], how), strict=True):
        assert same(found, whole[place])
    for half in (slice(0, 4), slice(4, 9)):
        for found, want in zip(replies(*plain, asked[half], how), whole[half], strict=True):
            assert same(found, want)
    again = replies(*plain, asked, dataclasses.replace(how, seed=4))
    assert not all(same(a, b) for a, b in zip(again, whole, strict=True))
    lengths = {len(r.tokens) for of in whole for r in of}
    assert len(lengths) > 3, "slots are filled again at different times"


def test_a_longer_prompt_beside_it_changes_nothing(plain):
    """Short ones begin in room for long ones, lose it on the way, and begin in room for short ones."""
    params, model = plain
    how, short = SampleConfig(max_tokens=40, slots=3), prompts(3, (3, 60))
    alone = replies(params, model, short, how)
    long = [p._replace(max_tokens=20) for p in prompts(2, (140, 200), seed=1)]
    sampler, rooms = Sampler(model, 1, 3, 40), []
    go_on = sampler.go_on

    def watched(params, state, prompt_G, own_S, *rest):
        rooms.append((jax.tree.leaves(state.prefix)[0].shape[-2], own_S.tolist()))
        return go_on(params, state, prompt_G, own_S, *rest)

    sampler.go_on = watched
    found = dict(generate.generate(params, model, [*short, *long], how, frozenset(), sampler=sampler))
    want = dict(generate.generate(params, model, short, how, frozenset()))
    assert all(same(found[i], want[i]) for i in range(3))
    assert [len(found[i][0].tokens) for i in (3, 4)] == [20, 20]
    assert all(same(a, b) for a, b in zip(alone, replies(params, model, [*short, *long], how)[:3], strict=True))
    assert [room for room, _ in rooms] == [256, 256, 128, 128, 128], "long ones take 20 tokens of 40: two calls of five"
    assert rooms[2][1] == [0, 0, 32], "the short one that began beside them goes on"


def test_a_sampler_keeps_nothing_of_other_weights(plain):
    """The cache is an argument, made from the weights that write: those of before an update leave nothing behind."""
    params, model = plain
    other = tiny.params(model, seed=1)
    how, asked = SampleConfig(max_tokens=20, slots=2), prompts(4, (3, 60))
    sampler = Sampler(model, 1, 2, 20)
    before, after = (replies(p, model, asked, how, sampler=sampler) for p in (params, other))
    assert not all(same(a, b) for a, b in zip(before, after, strict=True))
    for found, want in zip(after, replies(other, model, asked, how), strict=True):
        assert same(found, want)


def test_long_replies_and_shorter_ones_beside(plain):
    """What texts have of their own is read in sizes of 128 and 256."""
    params, model = plain
    asked = [p._replace(max_tokens=n) for p, n in zip(prompts(3, (3, 9)), (160, 7, None), strict=True)]
    how = SampleConfig(max_tokens=150, slots=2, temperature=0.8)
    found = dict(generate.generate(params, model, asked, how, frozenset()))
    assert [len(found[i][0].tokens) for i in range(3)] == [150, 7, 150]
    check_logp(params, model, asked, [found[i] for i in range(3)], 0.8)


def test_why_a_text_is_over(plain):
    asked = prompts(30, (3, 10))
    found = [r for of in replies(*plain, asked, SampleConfig(max_tokens=25, slots=8, temperature=1.5)) for r in of]
    for reply in found:
        inner = set(reply.tokens[:-1].tolist())
        assert not inner & ENDS
        if reply.reason == "end":
            assert reply.tokens[-1] in ENDS
        else:
            assert reply.reason == "length"
            assert len(reply.tokens) == 25
            assert reply.tokens[-1] not in ENDS
    assert {r.reason for r in found} == {"end", "length"}

    def is_stopped(tokens):
        hits = np.flatnonzero(tokens < 20)
        return int(hits[0]) + 1 if len(hits) else None

    how = SampleConfig(max_tokens=25, slots=8, temperature=1.5)
    stopped = [r for of in replies(*plain, asked, how, is_stopped=is_stopped) for r in of]
    for reply, free in zip(stopped, found, strict=True):
        assert (reply.tokens == free.tokens[: len(reply.tokens)]).all()
        assert (reply.tokens[:-1] >= 20).all()


def test_few_programs_are_compiled(plain):
    params, model = plain
    counted = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: counted.append(event))
    rng = np.random.default_rng(5)
    sampler, how = Sampler(model, 1, 8, 32), SampleConfig(max_tokens=32, slots=8)
    asked = [Prompt(rng.integers(0, 97, n).tolist(), i) for i, n in enumerate(rng.integers(1, 500, 100))]
    settings = [{"temperature": 0.0}, {"temperature": 0.5, "top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1, "seed": 9}]
    for part, changes in enumerate(settings):
        replies(params, model, asked[25 * part : 25 * (part + 1)], dataclasses.replace(how, **changes), sampler=sampler)
    compiled = [e for e in counted if e == "/jax/core/compile/backend_compile_duration"]
    assert len(compiled) <= 1 + 6 + 3 + 2 + 1, (
        "an empty cache; prompts of 128, 256 and 512 in room for as much or more; rounds in each room; "
        "two that shrink it; random numbers"
    )


@pytest.mark.parametrize("shape", [(8, 1, 1), (2, 2, 2), (1, 2, 4)])
def test_eight_devices(plain, shape):
    params, model = plain
    asked, how = prompts(10, (3, 60)), SampleConfig(n=2, max_tokens=20, slots=16, temperature=0.9, top_p=0.9)
    want = replies(params, model, asked, how)
    many = tiny.model(model.spec, mesh=tiny.mesh(*shape))
    placed = jax.device_put(params, jax.tree.map(lambda x: x.sharding, api.abstract_params(many)))
    found = replies(placed, many, asked, how)
    for a, b in zip(found, want, strict=True):
        assert same(a, b)
        np.testing.assert_allclose(a[0].logp, b[0].logp, atol=1e-4)
