"""Two scalars fitted on validation rows: a temperature for the shares and a factor for the concentration."""

from typing import NamedTuple

import numpy as np
from scipy import optimize

from moral_jax.evals import metrics
from moral_jax.evals.table import Table

LOG_BOUND = 6.0  # factors from 1/400 to 400


class Calibration(NamedTuple):
    """`temperature` divides log-probabilities; `concentration_factor` multiplies s."""

    temperature: float = 1.0
    concentration_factor: float = 1.0


def cool(t: Table, temperature: float) -> Table:
    """softmax(log p / T): Scruples' calibration (`calibration_factor`)."""
    with np.errstate(divide="ignore"):
        z_EC = np.where(t.exists_EC, np.log(np.maximum(t.p_EC, metrics.TINY)) / temperature, -np.inf)
    p_EC = np.exp(z_EC - z_EC.max(-1, keepdims=True))
    return t.replace(p_EC=p_EC / p_EC.sum(-1, keepdims=True))


def concentrate(t: Table, factor: float) -> Table:
    return t.replace(concentration_E=t.concentration_E * factor)


def fit(t: Table) -> Calibration:
    """Temperature by soft cross-entropy; concentration by Dirichlet-multinomial NLL of the uncooled shares."""

    def minimum(loss) -> float:
        found = optimize.minimize_scalar(lambda x: loss(np.exp(x)), bounds=(-LOG_BOUND, LOG_BOUND), method="bounded")
        return float(np.exp(found.x))

    return Calibration(
        temperature=minimum(lambda x: metrics.cross_entropy(cool(t, x)).mean()),
        concentration_factor=minimum(lambda x: metrics.dirichlet_nll(concentrate(t, x)).mean()),
    )
