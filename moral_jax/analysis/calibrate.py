"""Scalars fitted on validation rows: a temperature for shares, a factor for concentrations, one fixed concentration."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize

from moral_jax.analysis import metrics
from moral_jax.analysis.table import Table

LOG_BOUND = 6.0  # of the temperature: from 1/400 to 400
LOG_CONCENTRATION_BOUND = 30.0  # as in training: e^30 imagined votes are a multinomial
GRID = 61  # points tried before the lowest one's surroundings are searched
AT_BOUND = 1e-3  # of the log: nearer to a bound, there is no minimum


class Calibration(NamedTuple):
    """Fitted scalars.

    `temperature` divides log-probabilities; `concentration_factor` multiplies each question's concentration;
    `fixed_concentration` replaces it by one value for all questions.
    """

    temperature: float
    concentration_factor: float
    fixed_concentration: float


def cool(t: Table, temperature: float) -> Table:
    """Returns the table with shares softmax(log p / T): Scruples' calibration (`calibration_factor`)."""
    with np.errstate(divide="ignore"):
        z_EC = np.where(t.exists_EC, np.log(np.maximum(t.p_EC, metrics.TINY)) / temperature, -np.inf)
    p_EC = np.exp(z_EC - z_EC.max(-1, keepdims=True))
    return t.replace(p_EC=p_EC / p_EC.sum(-1, keepdims=True))


def concentrate(t: Table, factor: float) -> Table:
    """Returns the table with every concentration multiplied by a factor."""
    return t.replace(concentration_E=t.concentration_E * factor)


def fixed(t: Table, concentration: float) -> Table:
    """Returns the table with one concentration for all questions."""
    return t.replace(concentration_E=np.full(len(t.p_EC), concentration))


def _minimum(loss: Callable[[float], float], bound: float) -> float:
    """Returns the positive scalar with the lowest loss, searched on a log scale from -bound to bound."""
    grid = np.linspace(-bound, bound, GRID)
    best = int(np.argmin([loss(np.exp(x)) for x in grid]))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)])
    result = optimize.minimize_scalar(lambda x: loss(np.exp(x)), bounds=around, method="bounded")
    return float(np.exp(min(grid[best], result.x, key=lambda x: loss(np.exp(x)))))


def fixed_concentration(t: Table) -> float:
    """Returns the one concentration with the lowest Dirichlet-multinomial NLL for these shares and votes."""
    return _minimum(lambda x: metrics.dirichlet_nll(fixed(t, x)).mean(), LOG_CONCENTRATION_BOUND)


def at_bound(c: Calibration) -> list[str]:
    """Returns the names of the scalars whose fit ended at the end of what is searched: the data asks for more."""
    ends = Calibration(LOG_BOUND, LOG_CONCENTRATION_BOUND, LOG_CONCENTRATION_BOUND)._asdict()
    return [name for name, x in c._asdict().items() if abs(np.log(x)) > ends[name] - AT_BOUND]


def fit(t: Table) -> Calibration:
    """Fits temperature by soft cross-entropy, concentrations by Dirichlet-multinomial NLL of the uncooled shares."""
    return Calibration(
        temperature=_minimum(lambda x: metrics.cross_entropy(cool(t, x)).mean(), LOG_BOUND),
        concentration_factor=_minimum(
            lambda x: metrics.dirichlet_nll(concentrate(t, x)).mean(), LOG_CONCENTRATION_BOUND
        ),
        fixed_concentration=fixed_concentration(t),
    )
