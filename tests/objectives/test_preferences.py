"""Losses on texts and preferences: the published formulas at one pair, and what holds for all of them."""

import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moral_jax import objectives
from moral_jax.config.train import ObjectiveConfig
from moral_jax.objectives import pairs, preferences
from moral_jax.types import Batch, OptionScores, Texts, TextScores

# the pair of the golden values: log p, under the policy and the reference, and tokens of the chosen and the rejected
LOGP, REFERENCE, TOKENS = (-12.0, -15.0), (-13.0, -14.5), (6.0, 10.0)
SETTINGS = {"beta": 0.1, "label_smoothing": 0.1, "margin": 0.5, "sft_weight": 0.1, "centring": 0.01}
GOLDEN = {
    "dpo": (0.620957, {"label_smoothing": 0.0}),
    "cdpo": (0.635957, {}),
    "robust_dpo": (0.602207, {}),
    "hinge": (0.85, {}),
    "ipo_per_token": (22.880278, {}),
    "ipo": (12.25, {}),
    "exo": (0.431388, {}),
    "nca": (1.350825, {}),
    "bco": (1.312856, {}),
    "sppo": (36.25, {}),
    "apo_zero": (0.962523, {}),
    "apo_down": (0.987549, {}),
    "discopop": (0.849338, {}),
    "dpo_per_token": (0.682373, {}),
    "simpo": (1.005492, {}),
    "simpo of the paper": (2.126928, {"beta": 2.0, "margin": 1.0}),
    "orpo": (2.104206, {}),
}
NAMES = {"cdpo": "dpo", "simpo of the paper": "simpo"}
PAIRS = [name for name, o in objectives.OBJECTIVES.items() if o.kinds == ("preferences",)]


def batch_of(counts, reference, weights=1.0):
    counts_BQC = np.asarray(counts, np.float32)[None]
    weights_BQ = np.full(counts_BQC.shape[:2], weights, np.float32)
    columns = {preferences.REFERENCE: np.asarray(reference, np.float32)[None]}
    return Batch(None, Texts(None, None, None, None, counts_BQC, weights_BQ, weights_BQ, columns, {}))


class Read:
    """A read-out of given log-probabilities [Q, C]."""

    def __init__(self, logp, tokens=None, log_s=0.0):
        self.logp_BQC = jnp.asarray(logp, jnp.float32)[None]
        self.tokens_BQC = jnp.ones_like(self.logp_BQC) if tokens is None else jnp.asarray(tokens, jnp.float32)[None]
        self.log_s = log_s

    def texts(self):
        return TextScores(self.logp_BQC, self.tokens_BQC)

    def options(self):
        return OptionScores(self.logp_BQC, jnp.full(self.logp_BQC.shape[:2], self.log_s))


def bound(name, **settings):
    return objectives.get(name).bound(types.SimpleNamespace(**SETTINGS | settings))


def loss(name, logp, counts, reference=None, tokens=None, **settings):
    reference = np.zeros(np.shape(logp)) if reference is None else reference
    total, weight = bound(name, **settings).loss(Read(logp, tokens), batch_of(counts, reference))["loss"]
    return total / weight


@pytest.mark.parametrize(("margin", "want"), [(0.0, 0.693147), (2.0, 0.598139), (20.0, 0.126928)])
def test_dpo_at_a_margin(margin, want):
    """beta 0.1: the margin is that of the log-ratios of chosen and rejected."""
    found = loss("dpo", [(-12.0 + margin, -15.0)], [(1, 0)], [(-12.0, -15.0)], label_smoothing=0.0)
    assert found == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name):
    want, settings = GOLDEN[name]
    got = loss(NAMES.get(name, name), [LOGP], [(1, 0)], [REFERENCE], [TOKENS], **settings)
    assert float(got) == pytest.approx(want, rel=2e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_may_stand_in_either_order(name):
    one = loss(name, [LOGP], [(1, 0)], [REFERENCE], [TOKENS])
    other = loss(name, [LOGP[::-1]], [(0, 1)], [REFERENCE[::-1]], [TOKENS[::-1]])
    assert float(one) == pytest.approx(float(other), rel=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_micro_batches_add_up(name):
    """One batch of three pairs, or one of two and one of one: losses are sums and weights, divided once."""
    logp, reference = [LOGP, (-3.0, -2.0), (-9.0, -7.5)], [REFERENCE, (-3.5, -2.5), (-8.0, -8.0)]
    tokens, counts = [TOKENS, (3.0, 1.0), (2.0, 7.0)], [(1, 0), (0, 1), (2, 1)]

    def sums(part):
        found = bound(name).loss(Read(logp[part], tokens[part]), batch_of(counts[part], reference[part]))
        return {key: np.array([float(x) for x in value]) for key, value in found.items()}

    whole, first, rest = (sums(part) for part in (slice(0, 3), slice(0, 2), slice(2, 3)))
    for key, value in whole.items():
        np.testing.assert_allclose(first[key] + rest[key], value, rtol=1e-5, atol=1e-6, err_msg=key)


def test_the_log_odds_of_orpo():
    chosen, rejected = (logp / tokens for logp, tokens in zip(LOGP, TOKENS, strict=True))
    assert float(pairs._log_odds(jnp.array(chosen)) - pairs._log_odds(jnp.array(rejected))) == pytest.approx(-0.607069)


def test_the_gradient_of_dpo():
    def of_difference(d):
        return loss("dpo", jnp.array([[d, 0.0]]), [(1, 0)], label_smoothing=0.0)

    assert float(jax.grad(of_difference)(1.5)) == pytest.approx(-0.0462570, rel=1e-5)


@pytest.mark.parametrize("name", [n for n in PAIRS if n not in ("dpo", "dpo_dirichlet")])
def test_votes_weigh_both_directions(name):
    """A pair with votes 3:1 costs what three single choices for one and one for the other cost on average."""
    args = {"reference": [REFERENCE], "tokens": [TOKENS]}
    graded = loss(name, [LOGP], [(3, 1)], **args)
    for_one, for_other = (loss(name, [LOGP], [counts], **args) for counts in ((1, 0), (0, 1)))
    assert float(graded) == pytest.approx(0.75 * float(for_one) + 0.25 * float(for_other), rel=1e-6)


def test_graded_votes_of_dpo():
    assert float(loss("dpo", [(8.0, 0.0)], [(3, 1)], label_smoothing=0.0)) == pytest.approx(0.571101, rel=1e-5)


@pytest.mark.parametrize(("name", "at_start"), [("dpo", np.log(2)), ("robust_dpo", np.log(2)), ("bco", 2 * np.log(2))])
def test_what_the_first_step_costs(name, at_start):
    settings = {"label_smoothing": 0.0}
    assert float(loss(name, [LOGP], [(1, 0)], [LOGP], [TOKENS], **settings)) == pytest.approx(at_start, rel=1e-6)


def test_several_texts_are_compared_as_one_softmax():
    logp, reference = np.array([[-5.0, -9.0, -7.0]]), np.array([[-6.0, -8.0, -7.5]])
    scores = 0.1 * (logp - reference)[0]
    log_p = scores - np.log(np.exp(scores).sum())
    want = -(np.array([2, 1, 1]) / 4) @ log_p
    assert float(loss("dpo", logp, [(2, 1, 1)], reference, label_smoothing=0.0)) == pytest.approx(want, rel=1e-6)


def test_a_text_that_does_not_exist_changes_nothing():
    """Rows with fewer texts than the batch has room for: no probability, and no gradient."""

    def of(logp, counts, reference, tokens):
        return loss("dpo", logp, counts, reference, tokens)

    alone = of(jnp.array([LOGP]), [(1, 0)], [REFERENCE], [TOKENS])
    beside = of(jnp.array([[*LOGP, 7.0]]), [(1, 0, 0)], [(*REFERENCE, 0.0)], [(*TOKENS, 0.0)])
    assert float(alone) == pytest.approx(float(beside), rel=1e-6)
    grad = jax.grad(lambda x: of(x, [(1, 0, 0)], [(*REFERENCE, 0.0)], [(*TOKENS, 0.0)]))(jnp.array([[*LOGP, 7.0]]))
    assert grad[0, 2] == 0
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("name", PAIRS)
def test_an_empty_slot_costs_nothing(name):
    """And its gradient is zero, not NaN."""
    settings = types.SimpleNamespace(**SETTINGS)
    objective = objectives.get(name).bound(settings)

    def total(logp, weights):
        batch = batch_of([(1, 0), (0, 0)], [REFERENCE, (0, 0)])
        batch = batch._replace(asks=batch.asks._replace(weights_BQ=np.asarray([weights], np.float32)))
        return objective.loss(Read(logp, [TOKENS, (0, 0)]), batch)["loss"][0]

    logp = jnp.array([LOGP, (0.0, 0.0)])
    assert float(total(logp, (1, 0))) == pytest.approx(float(loss(name, [LOGP], [(1, 0)], [REFERENCE], [TOKENS])))
    grad = jax.grad(lambda x: total(x, (1, 0)))(logp)
    assert np.isfinite(grad).all()
    assert (grad[1] == 0).all()


def test_the_numbers_beside_the_loss():
    found = bound("dpo").loss(Read([LOGP], [TOKENS]), batch_of([(1, 0)], [REFERENCE]))
    values = {name: float(total / weight) for name, (total, weight) in found.items()}
    assert values["accuracy"] == 1
    assert values["chosen_reward"] == pytest.approx(0.1)
    assert values["rejected_reward"] == pytest.approx(-0.05)
    assert values["margin"] == pytest.approx(0.15)
    assert values["chosen_logp"] == pytest.approx(-2.0)
    assert values["rejected_logp"] == pytest.approx(-1.5)
    assert values["reference_gap"] == pytest.approx(np.mean([1.0**2 / TOKENS[0], 0.5**2 / TOKENS[1]]))


@pytest.mark.parametrize(("logp", "accuracy"), [((-1.0, -2.0), 1), ((-2.0, -1.0), 0), ((-1.0, -1.0), 0.5)])
def test_accuracy_counts_ties_half(logp, accuracy):
    total, weight = bound("dpo").loss(Read([logp]), batch_of([(1, 0)], [(0, 0)]))["accuracy"]
    assert float(total / weight) == accuracy


def test_even_votes_have_no_accuracy():
    _, weight = bound("dpo").loss(Read([LOGP]), batch_of([(2, 2)], [REFERENCE]))["accuracy"]
    assert weight == 0


@pytest.mark.parametrize(
    ("settings", "want"),
    [
        ({"margin": 0.0, "centring": 0.0}, 0.371101),
        ({"margin": 0.3, "centring": 0.0}, 0.474077),
        ({"margin": 0.0, "centring": 0.01}, 0.371101 + 0.0256),
    ],
)
def test_reward_model(settings, want):
    scores = [(1.2, 0.4)]
    assert float(loss("reward_model", scores, [(1, 0)], **settings)) == pytest.approx(want, rel=2e-6)


def test_orpo_is_finite_where_a_text_is_certain():
    grad = jax.grad(lambda x: loss("orpo", x, [(1, 0)], tokens=[TOKENS]))(jnp.array([(0.0, -15.0)]))
    assert np.isfinite(grad).all()


def test_dpo_dirichlet_is_the_likelihood_of_the_votes_in_turn():
    """Polya's urn with s = 2 and even shares: votes 3:1 in a fixed order have 1/2 * 2/3 * 3/4 * 1/5."""
    settings = {"beta": 0.1}
    found = objectives.get("dpo_dirichlet").bound(types.SimpleNamespace(**settings))
    total, _ = found.loss(Read([(0.0, 0.0)], log_s=np.log(2.0)), batch_of([(3, 1)], [(0, 0)]))["loss"]
    assert float(total) == pytest.approx(-np.log(1 / 2 * 2 / 3 * 3 / 4 * 1 / 5), rel=1e-5)


def test_every_objective_has_the_settings_that_it_takes():
    fields = ObjectiveConfig.__dataclass_fields__
    for name, objective in objectives.OBJECTIVES.items():
        assert {*objective.settings, *objective.reads} <= set(fields), name


def test_sums_over_tokens_and_means_are_two_conventions():
    sides = zip(LOGP, REFERENCE, TOKENS, strict=True)
    c, r = (pairs.Side(*map(jnp.array, values)) for values in sides)
    same = partial(pytest.approx, rel=1e-6)
    one = c._replace(tokens=jnp.array(1.0)), r._replace(tokens=jnp.array(1.0))
    assert float(pairs.ipo_per_token(*one, beta=0.1)) == same(float(pairs.ipo(c, r, beta=0.1)))
    assert float(pairs.ipo_per_token(c, r, beta=0.1)) != same(float(pairs.ipo(c, r, beta=0.1)))
