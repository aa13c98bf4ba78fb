"""Scalars fitted on validation rows: a temperature for the shares; a factor for the concentration, and one for all."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize

from moral_jax.analysis import metrics
from moral_jax.analysis.table import Table

LOG_BOUND = 6.0  # factors from 1/400 to 400


class Calibration(NamedTuple):
    """`temperature` divides log-probabilities; `concentration_factor` multiplies s, `fixed_concentration` is one for
    all questions."""

    temperature: float
    concentration_factor: float
    fixed_concentration: float


def cool(t: Table, temperature: float) -> Table:
    """softmax(log p / T): Scruples' calibration (`calibration_factor`)."""
    with np.errstate(divide="ignore"):
        z_EC = np.where(t.exists_EC, np.log(np.maximum(t.p_EC, metrics.TINY)) / temperature, -np.inf)
    p_EC = np.exp(z_EC - z_EC.max(-1, keepdims=True))
    return t.replace(p_EC=p_EC / p_EC.sum(-1, keepdims=True))


def concentrate(t: Table, factor: float) -> Table:
    return t.replace(concentration_E=t.concentration_E * factor)


def fixed(t: Table, concentration: float) -> Table:
    """The same shares, all with one concentration."""
    return t.replace(concentration_E=np.full(len(t.p_EC), concentration))


def _minimum(loss: Callable[[float], float]) -> float:
    found = optimize.minimize_scalar(lambda x: loss(np.exp(x)), bounds=(-LOG_BOUND, LOG_BOUND), method="bounded")
    return float(np.exp(found.x))


def fixed_concentration(t: Table) -> float:
    """The one concentration with the lowest Dirichlet-multinomial NLL for these shares and votes."""
    return _minimum(lambda x: metrics.dirichlet_nll(fixed(t, x)).mean())


def fit(t: Table) -> Calibration:
    """Temperature by soft cross-entropy; concentrations by Dirichlet-multinomial NLL of the uncooled shares."""
    return Calibration(
        temperature=_minimum(lambda x: metrics.cross_entropy(cool(t, x)).mean()),
        concentration_factor=_minimum(lambda x: metrics.dirichlet_nll(concentrate(t, x)).mean()),
        fixed_concentration=fixed_concentration(t),
    )
