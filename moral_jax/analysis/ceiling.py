"""Yardsticks: what no model, the label prior, and people themselves would score on the same rows."""

from collections.abc import Iterator

import numpy as np
from scipy import optimize
from scipy.special import digamma, gammaln

from moral_jax.analysis.table import Table


def fit_dirichlet(counts_EC: np.ndarray) -> np.ndarray:
    """Maximum-likelihood alpha [C] of Dirichlet-multinomial rows, as Scruples fits it (L-BFGS-B from ones)."""
    rows, times = np.unique(counts_EC, axis=0, return_counts=True)
    totals = rows.sum(-1)

    def negative(alpha: np.ndarray) -> tuple[float, np.ndarray]:
        A = alpha.sum()
        log_likelihood = gammaln(A) - gammaln(A + totals) + (gammaln(alpha + rows) - gammaln(alpha)).sum(-1)
        gradient = (digamma(A) - digamma(A + totals))[:, None] + digamma(alpha + rows) - digamma(alpha)
        return -(times @ log_likelihood) / times.sum(), -(times @ gradient) / times.sum()

    C = counts_EC.shape[1]
    return optimize.minimize(negative, np.ones(C), jac=True, method="L-BFGS-B", bounds=[(1e-10, None)] * C).x


def by_option_count(t: Table) -> Iterator[tuple[int, np.ndarray]]:
    """(number of options, rows that have it): a prior over two options says nothing of rows with five."""
    for count in np.unique(t.options_E):
        yield int(count), np.flatnonzero(t.options_E == count)


def uniform(t: Table) -> Table:
    """Every option alike; alpha = 1 each, the flat prior."""
    return t.replace(p_EC=t.exists_EC / t.options_E[:, None], concentration_E=t.options_E.astype(float))


def mean_share(t: Table, source: Table) -> Table:
    """The mean share of votes in `source`: the constant with the lowest cross-entropy there."""
    p_EC = uniform(t).p_EC.copy()
    for count, rows in by_option_count(t):
        known = source.options_E == count
        if known.any():
            p_EC[rows, :count] = source.q_EC[known, :count].mean(0)
    return t.replace(p_EC=p_EC)


def dirichlet_prior(t: Table, source: Table) -> Table:
    """The maximum-likelihood alpha of `source`: the constant with the lowest Dirichlet-multinomial NLL there."""
    flat = uniform(t)
    p_EC, s_E = flat.p_EC.copy(), flat.concentration_E.copy()
    for count, rows in by_option_count(t):
        known = source.options_E == count
        if known.any():
            alpha = fit_dirichlet(source.counts_EC[known, :count])
            p_EC[rows, :count], s_E[rows] = alpha / alpha.sum(), alpha.sum()
    return t.replace(p_EC=p_EC, concentration_E=s_E)


def second_panel(t: Table, second_EC: np.ndarray) -> Table:
    """Other people asked the same: the posterior of the shares after their votes, under the prior of their votes.

    Honest, unlike BEST: it knows nothing of the votes that it is scored on.
    """
    p_EC, s_E = np.zeros_like(t.p_EC), np.zeros(len(t.p_EC))
    for count, rows in by_option_count(t):
        alpha_EC = fit_dirichlet(second_EC[rows, :count]) + second_EC[rows, :count]
        s_E[rows] = alpha_EC.sum(-1)
        p_EC[rows, :count] = alpha_EC / s_E[rows, None]
    return t.replace(p_EC=p_EC, concentration_E=s_E)


def best_draws(t: Table, draws: int, seed: int) -> Iterator[Table]:
    """Scruples' BEST (`utils.oracle_performance`): predictions drawn from the posterior of each row's true shares.

    Fits one Dirichlet prior to all rows, then draws p ~ Dirichlet(prior + votes) and scores the draw against the same
    votes. It is a sampling oracle: a posterior mean scores lower, so its CE is no floor.
    """
    rng = np.random.default_rng(seed)
    alpha_EC = np.zeros_like(t.counts_EC)
    for count, rows in by_option_count(t):
        alpha_EC[rows, :count] = fit_dirichlet(t.counts_EC[rows, :count]) + t.counts_EC[rows, :count]
    for _ in range(draws):
        gamma_EC = np.where(t.exists_EC, rng.standard_gamma(np.maximum(alpha_EC, 1e-12)), 0.0)
        yield t.replace(p_EC=gamma_EC / gamma_EC.sum(-1, keepdims=True))
