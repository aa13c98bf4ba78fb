"""The optimizer: its schedule by hand, what decays, what moves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from moral_jax.config.train import OptimConfig
from moral_jax.train import optim


def rates(steps, **changes):
    rate = optim.schedule(OptimConfig(lr=1.0, **changes), steps)
    return [float(rate(i)) for i in range(steps)]


def test_warm_up_then_linear():
    np.testing.assert_allclose(rates(8, warmup=0.5), [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25], atol=1e-6)


def test_cosine_and_constant():
    np.testing.assert_allclose(rates(4, warmup=0.0, schedule="cosine"), [1, 0.853553, 0.5, 0.146447], atol=1e-5)
    np.testing.assert_allclose(rates(4, warmup=0.25, schedule="constant"), [1, 1, 1, 1], atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 1.0])
def test_every_step_moves(steps, warmup):
    assert all(r > 0 for r in rates(steps, warmup=warmup))


def params():
    return {
        "decoder": {"layers": {"norm": {"scale": jnp.ones((2, 3))}, "query": {"kernel": jnp.ones((2, 3, 3))}}},
        "head": {"bias": jnp.ones(()), "kernel": jnp.ones((3, 1))},
    }


def update(config, gradient):
    tx = optim.make(config, 10)
    tree = params()
    grads = {k: {"decoder": gradient, "head": gradient}[k] for k in tree}
    grads = {k: optax.tree_utils.tree_full_like(tree[k], g) for k, g in grads.items()}
    updates, _ = tx.update(grads, tx.init(tree), tree)
    return updates


def test_norms_and_biases_do_not_decay():
    got = update(OptimConfig(lr=0.1, warmup=0.0, weight_decay=0.5), 0.0)
    assert (got["decoder"]["layers"]["norm"]["scale"] == 0).all()
    np.testing.assert_allclose(got["decoder"]["layers"]["query"]["kernel"], -0.05, rtol=1e-6)
    assert (got["head"]["kernel"] == 0).all()  # the head has no decay at all


def test_the_head_has_its_own_rate():
    got = update(OptimConfig(lr=1e-3, head_lr=1e-1, warmup=0.0, weight_decay=0.0, clip=None), 1.0)
    np.testing.assert_allclose(got["decoder"]["layers"]["query"]["kernel"], -1e-3, rtol=1e-4)
    np.testing.assert_allclose(got["head"]["bias"], -1e-1, rtol=1e-4)


def test_clipping_is_of_the_global_norm():
    """Adam's first step hides the size of a gradient; its first moment does not."""
    tx = optim.make(OptimConfig(clip=1.0), 10)
    tree = params()
    grads = optax.tree_utils.tree_full_like(tree, 10.0)
    _, state = tx.update(grads, tx.init(tree), tree)
    moments = optax.tree_utils.tree_get_all_with_path(state, "mu")
    norm = np.sqrt(sum(float(jnp.sum(jnp.square(leaf))) for _, mu in moments for leaf in jax.tree.leaves(mu)))
    assert norm == pytest.approx(0.1, rel=1e-4)  # (1 - b1) * 1.0


def first_updates(config, steps, tree, gradient=1.0):
    tx = optim.make(config, steps)
    return tx.update(optax.tree_utils.tree_full_like(tree, gradient), tx.init(tree), tree)[0]


def test_both_rates_follow_one_schedule():
    """Adam's updates are rates: at every step those of the two parts are as far apart as the two settings."""
    config = OptimConfig(lr=1e-3, head_lr=1e-1, warmup=0.5, weight_decay=0.0, clip=None)
    tx, tree = optim.make(config, 8), params()
    state, grads = tx.init(tree), optax.tree_utils.tree_full_like(tree, 1.0)
    seen = []
    for _ in range(8):
        updates, state = tx.update(grads, state, tree)
        seen.append((float(updates["decoder"]["layers"]["norm"]["scale"][0, 0]), float(updates["head"]["bias"])))
    body, head = np.array(seen).T
    np.testing.assert_allclose(body / -1e-3, [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25], rtol=1e-4)
    np.testing.assert_allclose(head, 100 * body, rtol=1e-4)


def test_a_magnitude_does_not_decay_and_its_factors_do():
    """The magnitude holds the length of the frozen weights: its decay would be theirs."""
    tree = {"adapters": {name: jnp.ones((2, 3)) for name in ("a", "b", "magnitude")}}
    got = first_updates(OptimConfig(lr=0.1, warmup=0.0, weight_decay=0.5), 10, tree, gradient=0.0)["adapters"]
    assert (got["magnitude"] == 0).all()
    np.testing.assert_allclose(got["a"], -0.05, rtol=1e-6)
    np.testing.assert_allclose(got["b"], -0.05, rtol=1e-6)


def test_moments_in_bfloat16_are_rounded_between_steps_and_nowhere_else():
    """A step from them is a step from the same numbers in float32, bit for bit; only what it leaves is rounded."""
    tree, rng = params(), np.random.default_rng(0)
    half, single = (
        optim.make(OptimConfig(warmup=0.0, b2=0.95, moment_dtype=name), 10) for name in ("bfloat16", "float32")
    )
    grads = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), tree)
    _, stored = half.update(grads, half.init(tree), tree)
    wide = jax.tree.map(lambda x: x.astype("float32") if jnp.issubdtype(x.dtype, jnp.floating) else x, stored)
    got, kept = half.update(grads, stored, tree)
    want, exact = single.update(grads, wide, tree)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y.astype(x.dtype)), kept, exact)
