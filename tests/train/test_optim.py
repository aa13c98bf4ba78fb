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
