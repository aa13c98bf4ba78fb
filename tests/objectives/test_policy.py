"""Losses on tokens that the model wrote: values of the papers' formulas, computed apart from this code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax import objectives
from moral_jax.objectives import policy
from moral_jax.types import (
    ADVANTAGE,
    DIVISOR,
    OLD,
    OLD_VALUE,
    REFERENCE,
    RETURN,
    SAMPLED,
    SHARE,
    Batch,
    Texts,
    TokenScores,
)  # fmt: skip

LIMITS = {"clip": 0.2, "clip_high": None, "dual_clip": None}
SETTINGS = LIMITS | {"kl_weight": 0.0, "mismatch_cap": None, "temperature": 1.0}


def batch_of(lengths, logp, divisors, **columns):
    """Texts that lie in a row one after the other, with two positions that nobody reads at its end."""
    text_of_A = np.concatenate([np.repeat(np.arange(len(lengths)), lengths), [-1, -1]])

    def padded(values_T):
        return np.concatenate([values_T, [7.0, 7.0]]).astype(np.float32)[None]  # what must not count

    one_BQ = np.ones((1, len(lengths)), np.float32)
    asks = Texts(
        None, None, text_of_A[None], (text_of_A >= 0)[None].astype(np.float32), one_BQ[..., None], one_BQ, one_BQ,
        {DIVISOR: np.array(divisors, np.float32)[None, :, None]},
        {name: padded(np.asarray(values, float)) for name, values in columns.items()},
    )  # fmt: skip
    return Batch(None, asks), padded(np.asarray(logp, float))


class Read:
    def __init__(self, logp_BA, value_BA=None):
        self.logp_BA, self.value_BA = jnp.asarray(logp_BA), value_BA

    def tokens(self, temperature):
        return TokenScores(self.logp_BA, jnp.ones_like(self.logp_BA))

    def value(self):
        return jnp.asarray(self.value_BA)


def mean(metric):
    return float(metric[0]) / float(metric[1])


def test_the_clipped_loss():
    advantage, log_ratio = jnp.array([1.0, -1, 0.5]), jnp.array([0.3, 0.3, -0.3])
    loss, held = policy.clipped(log_ratio, log_ratio, advantage, **LIMITS)
    np.testing.assert_allclose(loss, [-1.2, 1.349859, -0.370409], atol=1e-6)
    assert float(loss.mean()) == pytest.approx(-0.073517, abs=1e-6)
    assert held.tolist() == [True, False, False]


def test_clip_higher():
    loss, _ = policy.clipped(jnp.log(1.5), 0.0, jnp.float32(1.5), **LIMITS | {"clip_high": 0.28})
    assert float(loss) == pytest.approx(-1.92)
    loss, _ = policy.clipped(jnp.log(0.5), 0.0, jnp.float32(-0.5), **LIMITS | {"clip_high": 0.28})
    assert float(loss) == pytest.approx(0.4)


def test_the_dual_clip_bounds_negative_advantages_alone():
    for advantage, want in ((-1.0, 3.0), (1.0, -1.2)):
        loss, held = policy.clipped(jnp.log(10.0), 0.0, jnp.float32(advantage), **LIMITS | {"dual_clip": 3.0})
        assert float(loss) == pytest.approx(want)
        assert bool(held)


def test_cispo_weighs_log_p_by_a_constant():
    def loss(logp, high=5.0):
        found, _ = policy.cispo(logp + 0.5 + jnp.log(1.5), logp, 1.5, **LIMITS | {"clip_high": high})
        return found

    assert float(loss(jnp.float32(-0.5))) == pytest.approx(1.125)
    assert float(jax.grad(loss)(jnp.float32(-0.5))) == pytest.approx(-2.25)
    assert float(jax.grad(loss)(jnp.float32(-0.5), 1.2)) == pytest.approx(-1.8)  # capped, and still with a gradient


def test_the_ratio_of_gspo_is_that_of_the_text():
    logp = np.array([0.2, -0.1, 0.3, 0.4]) - 1
    batch, logp_BA = batch_of([3, 1], logp, [3, 1], old=np.full(4, -1.0))
    ratio = jnp.exp(policy.of_texts(jnp.asarray(logp_BA) - batch.asks.token_columns[OLD], None, batch.asks))[0, :4]
    np.testing.assert_allclose(ratio, [1.142631] * 3 + [1.491825], atol=1e-6)


FIXTURE = {"lengths": [2, 4, 4, 6], "ratios": [1.5, 0.5, 1, 1], "advantages": [1.5, -0.5, -0.5, -0.5]}


def of_fixture(divisors, shares, **settings):
    repeat = lambda values: np.repeat(values, FIXTURE["lengths"])  # noqa: E731
    batch, logp_BA = batch_of(
        FIXTURE["lengths"], np.log(repeat(FIXTURE["ratios"])) - 2, divisors,
        **{OLD: np.full(16, -2.0), SAMPLED: np.full(16, -2.0), ADVANTAGE: repeat(FIXTURE["advantages"]),
           SHARE: repeat(shares)},
    )  # fmt: skip
    return objectives.get("grpo").loss(Read(logp_BA), batch, **SETTINGS | settings)


def test_the_loss_divides_the_weighed_sum_once():
    assert mean(of_fixture([2, 4, 4, 6], [1, 1, 1, 1])["loss"]) == pytest.approx(0.1875)
    assert mean(of_fixture([1, 1, 1, 1], [1 / 2, 1 / 4, 1 / 4, 1 / 6])["loss"]) == pytest.approx(-0.1)
    found = of_fixture([2, 4, 4, 6], [1, 1, 1, 1])
    assert mean(found["ratio"]) == pytest.approx((3 + 2 + 4 + 6) / 16)
    assert mean(found["clip_share"]) == pytest.approx(6 / 16)
    assert mean(found["entropy"]) == pytest.approx(1.0)


def test_before_the_first_update_the_ratio_is_one_and_has_a_gradient():
    def loss(shift):
        batch, logp_BA = batch_of([2], [-1.0, -2.0], [2.0], **{SAMPLED: [-1, -2], ADVANTAGE: [1, 1], SHARE: [1, 1]})
        found = objectives.get("grpo").loss(Read(jnp.asarray(logp_BA) + shift), batch, **SETTINGS)
        return found["loss"][0] / found["loss"][1], found

    (value, found), slope = jax.value_and_grad(loss, has_aux=True)(0.0)
    assert (float(value), float(slope), mean(found["ratio"])) == (-1.0, -1.0, 1.0)


def test_the_mismatch_of_sampler_and_trainer_is_a_weight_and_a_number():
    gaps = np.array([0.5, 1.2, -0.2])
    columns = {SAMPLED: -1 - gaps, ADVANTAGE: [1, 1, 1], SHARE: [1, 1, 1]}
    batch, logp_BA = batch_of([3], [-1.0] * 3, [3.0], **columns)
    loss = objectives.get("grpo").loss(Read(logp_BA), batch, **SETTINGS | {"mismatch_cap": 2.0})
    assert mean(loss["loss"]) == pytest.approx(-np.mean([1.648721, 2, 0.818731]), abs=1e-6)
    batch, logp_BA = batch_of([3], [-1.0] * 3, [3.0], **columns | {SAMPLED: -1 - np.array([0.1, -0.05, 0])})
    assert mean(objectives.get("grpo").loss(Read(logp_BA), batch, **SETTINGS)["mismatch"]) == pytest.approx(1.052147)


def test_the_loss_of_the_critic_is_clipped():
    value, old, wanted = jnp.array([0.5, 0.2]), jnp.array([0.1, 0.3]), jnp.array([1.0, 0])
    assert float(policy.value_loss(value, old, wanted, 0.2).mean()) == pytest.approx(0.1325)
    columns = {SAMPLED: [-1, -1], ADVANTAGE: [0, 0], SHARE: [1, 1], RETURN: wanted, OLD_VALUE: old}
    batch, logp_BA = batch_of([2], [-1.0, -1.0], [2.0], **columns)
    read = Read(logp_BA, np.array([[0.5, 0.2, 9, 9]], np.float32))
    found = objectives.get("ppo").loss(read, batch, **SETTINGS, value_weight=0.5, value_clip=0.2)
    assert mean(found["loss"]) == pytest.approx(0.5 * 0.1325)
    assert mean(found["value_loss"]) == pytest.approx(0.1325)


def test_estimates_of_kl():
    for_loss, printed = policy.kl_estimates(jnp.float32(-1.0), jnp.float32(-1.3))
    assert (float(for_loss), float(printed)) == (pytest.approx(0.045), pytest.approx(0.040818, abs=1e-6))


def test_the_kl_in_the_loss_has_the_gradient_of_the_divergence():
    """By enumeration over a coin with p = .7 against .5; in a loss k1 has none, and k3 that of the other direction."""

    def expected(estimate):
        p = jnp.array([0.3, 0.7])

        def surrogate(logit):
            logp = jax.nn.log_softmax(jnp.array([0.0, 1.0]) * logit)
            return jnp.sum(p * estimate(logp, jnp.log(0.5)))  # samples are fixed: the gradient goes through log p alone

        return float(jax.grad(surrogate)(jnp.log(0.7 / 0.3)))

    assert expected(lambda *x: policy.kl_estimates(*x)[0]) == pytest.approx(0.177933, abs=1e-6)
    assert expected(lambda *x: policy.kl_estimates(*x)[1]) == pytest.approx(0.2, abs=1e-6)
    assert expected(lambda logp, reference: logp - reference) == pytest.approx(0, abs=1e-6)
    true = jax.grad(lambda z: jnp.sum(jax.nn.softmax(jnp.array([0.0, 1.0]) * z)
                                      * (jax.nn.log_softmax(jnp.array([0.0, 1.0]) * z) - jnp.log(0.5))))  # fmt: skip
    assert float(true(jnp.log(0.7 / 0.3))) == pytest.approx(0.177933, abs=1e-6)


def test_kl_is_weighed_in_the_loss():
    columns = {SAMPLED: [-1], OLD: [-1], ADVANTAGE: [0], SHARE: [1], REFERENCE: [-1.3]}
    batch, logp_BA = batch_of([1], [-1.0], [1.0], **columns)
    found = objectives.get("grpo").loss(Read(logp_BA), batch, **SETTINGS | {"kl_weight": 2.0})
    assert mean(found["loss"]) == pytest.approx(0.09)
    assert mean(found["kl"]) == pytest.approx(0.040818, abs=1e-6)
    assert "kl" not in of_fixture([1] * 4, [1] * 4)


def test_gradients_are_those_of_finite_differences():
    rng = np.random.default_rng(0)
    lengths, count = [3, 5, 2], 10
    columns = {name: rng.normal(size=count) for name in (ADVANTAGE, RETURN, OLD_VALUE)}
    columns |= {name: rng.normal(-1, 0.2, count) for name in (OLD, SAMPLED, REFERENCE)} | {
        SHARE: rng.uniform(2, 4, size=count)
    }
    batch, logp_BA = batch_of(lengths, rng.normal(-1, 0.2, count), [1.0, 2, 3], **columns)
    value_BA = rng.normal(size=(1, count + 2)).astype(np.float32)
    settings = SETTINGS | {"kl_weight": 0.3, "dual_clip": 1.5, "mismatch_cap": None}
    for name in ("grpo", "gspo", "ppo"):
        more = {"value_weight": 0.5, "value_clip": 0.2} if name == "ppo" else {}

        def loss(logp_BA, name=name, more=more):
            total, weight = objectives.get(name).loss(Read(logp_BA, value_BA), batch, **settings, **more)["loss"]
            return total / weight

        with jax.enable_x64(True):
            slopes = np.asarray(jax.grad(loss)(jnp.asarray(logp_BA, jnp.float64)))[0]
            for place in range(count):
                step = np.zeros_like(logp_BA, np.float64)
                step[0, place] = 1e-6
                want = (loss(logp_BA + step) - loss(logp_BA - step)) / 2e-6
                assert slopes[place] == pytest.approx(float(want), abs=1e-5), (name, place)
        assert np.abs(slopes[:count]).max() > 0.05
        assert (slopes[count:] == 0).all()


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo", "ppo"])
def test_sums_and_weights_of_parts_add_up(name):
    """Texts of unequal lengths in one batch of four, in two of two, in four of one: the loss is divided once."""
    rng, lengths = np.random.default_rng(4), [3, 1, 5, 2]
    names = (ADVANTAGE, RETURN, OLD_VALUE, OLD, SAMPLED, REFERENCE, SHARE)
    columns = {key: rng.normal(-1, 0.3, sum(lengths)) for key in names}
    logp, values, divisors = rng.normal(-1, 0.3, sum(lengths)), rng.normal(size=sum(lengths)), [1.0, 2.0, 0.5, 3.0]
    more = {"value_weight": 0.5, "value_clip": 0.2} if name == "ppo" else {}
    ends = np.cumsum([0, *lengths])

    def of_part(first, last):
        tokens = slice(ends[first], ends[last])
        own = {key: column[tokens] for key, column in columns.items()}
        batch, logp_BA = batch_of(lengths[first:last], logp[tokens], divisors[first:last], **own)
        read = Read(logp_BA, np.concatenate([values[tokens], [9, 9]]).astype(np.float32)[None])
        return objectives.get(name).loss(read, batch, **SETTINGS | {"kl_weight": 0.3} | more)

    whole = of_part(0, 4)
    for size in (1, 2):
        parts = [of_part(first, first + size) for first in range(0, 4, size)]
        for key, (total, weight) in whole.items():
            assert sum(float(part[key][0]) for part in parts) == pytest.approx(float(total), rel=1e-5), key
            assert sum(float(part[key][1]) for part in parts) == pytest.approx(float(weight), rel=1e-5), key
