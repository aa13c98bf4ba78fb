"""Fitted scalars: each is the best of its loss on its own rows, whatever their numbers of votes."""

import numpy as np
import pytest

from moral_jax.analysis import calibrate, metrics
from moral_jax.analysis.table import from_examples
from moral_jax.types import Example


@pytest.fixture
def t():
    """Rows of 2 votes that are split as their shares say, rows of 400 that are not; concentrations of their own."""
    rng = np.random.default_rng(0)
    p_EC = rng.dirichlet([3, 2, 2], 60)
    few = [rng.multinomial(2, p) for p in p_EC[:40]]
    many = [rng.multinomial(400, rng.dirichlet(3 * p)) for p in p_EC[40:]]
    rows = [Example(str(i), "?", ("a", "b", "c"), tuple(map(float, c))) for i, c in enumerate(few + many)]
    return from_examples(rows).replace(p_EC=p_EC, concentration_E=rng.uniform(1, 9, 60))


@pytest.mark.parametrize(
    ("field", "loss"),
    [
        ("temperature", lambda t, x: metrics.cross_entropy(calibrate.cool(t, x))),
        ("concentration_factor", lambda t, x: metrics.dirichlet_nll(calibrate.concentrate(t, x))),
        ("fixed_concentration", lambda t, x: metrics.dirichlet_nll(calibrate.fixed(t, x))),
    ],
)
def test_a_fitted_scalar_is_the_best_of_its_loss(t, field, loss):
    best = getattr(calibrate.fit(t), field)
    at_best, *others = (loss(t, best * factor).mean() for factor in (1.0, 0.97, 1.03))
    assert at_best < min(others)


def test_a_factor_changes_every_concentration_and_a_fixed_one_replaces_them(t):
    np.testing.assert_allclose(calibrate.concentrate(t, 0.5).concentration_E, t.concentration_E / 2)
    assert set(calibrate.fixed(t, 2.5).concentration_E) == {2.5}
