"""Yardsticks: predictors that read no text (uniform, label priors), and people themselves."""

from collections.abc import Iterator

import numpy as np
from scipy import optimize
from scipy.special import digamma, gammaln

from moral_jax.analysis.table import Table


def fit_dirichlet(counts_EC: np.ndarray) -> np.ndarray:
    """Fits the maximum-likelihood alpha [C] of Dirichlet-multinomial rows, as in Scruples (L-BFGS-B from ones)."""
    rows, times = np.unique(counts_EC, axis=0, return_counts=True)
    totals = rows.sum(-1)

    def negative_log_likelihood(alpha: np.ndarray) -> tuple[float, np.ndarray]:
        A = alpha.sum()
        log_likelihood = gammaln(A) - gammaln(A + totals) + (gammaln(alpha + rows) - gammaln(alpha)).sum(-1)
        gradient = (digamma(A) - digamma(A + totals))[:, None] + digamma(alpha + rows) - digamma(alpha)
        return -(times @ log_likelihood) / times.sum(), -(times @ gradient) / times.sum()

    C = counts_EC.shape[1]
    bounds = [(1e-10, None)] * C
    return optimize.minimize(negative_log_likelihood, np.ones(C), jac=True, method="L-BFGS-B", bounds=bounds).x


def by_option_count(t: Table) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (number of options, rows with that number), as a prior over two options says nothing about five."""
    for count in np.unique(t.options_E):
        yield int(count), np.flatnonzero(t.options_E == count)


def uniform(t: Table) -> Table:
    """Predicts equal shares; alpha = 1 for each option, the flat prior."""
    return t.replace(p_EC=t.exists_EC / t.options_E[:, None], concentration_E=t.options_E.astype(float))


def mean_share(t: Table, source: Table) -> Table:
    """Predicts the mean shares of votes in `source`: the constant with its lowest cross-entropy."""
    p_EC = uniform(t).p_EC.copy()
    for count, rows in by_option_count(t):
        matches = source.options_E == count
        if matches.any():
            p_EC[rows, :count] = source.q_EC[matches, :count].mean(0)
    return t.replace(p_EC=p_EC)


def dirichlet_prior(t: Table, source: Table) -> Table:
    """Predicts the maximum-likelihood alpha of `source`: the constant with its lowest Dirichlet-multinomial NLL."""
    flat = uniform(t)
    p_EC, s_E = flat.p_EC.copy(), flat.concentration_E.copy()
    for count, rows in by_option_count(t):
        matches = source.options_E == count
        if matches.any():
            alpha = fit_dirichlet(source.counts_EC[matches, :count])
            p_EC[rows, :count], s_E[rows] = alpha / alpha.sum(), alpha.sum()
    return t.replace(p_EC=p_EC, concentration_E=s_E)


def second_panel(t: Table, second_EC: np.ndarray) -> Table:
    """Predicts from a second panel's votes: the posterior of the shares, under a prior fitted to that panel.

    Unlike BEST, it knows nothing of the votes that it is scored on.
    """
    p_EC, s_E = np.zeros_like(t.p_EC), np.zeros(len(t.p_EC))
    for count, rows in by_option_count(t):
        alpha_EC = fit_dirichlet(second_EC[rows, :count]) + second_EC[rows, :count]
        s_E[rows] = alpha_EC.sum(-1)
        p_EC[rows, :count] = alpha_EC / s_E[rows, None]
    return t.replace(p_EC=p_EC, concentration_E=s_E)


def best_draws(t: Table, draws: int, seed: int) -> Iterator[Table]:
    """Yields Scruples' BEST (`utils.oracle_performance`): predictions drawn from the posterior of each row's shares.

    Fits one Dirichlet prior to all rows, then draws p ~ Dirichlet(prior + votes). Draws are scored against the votes
    that they were drawn from. BEST is a sampling oracle: a posterior mean has a lower cross-entropy, so BEST's is no
    floor.
    """
    rng = np.random.default_rng(seed)
    alpha_EC = np.zeros_like(t.counts_EC)
    for count, rows in by_option_count(t):
        alpha_EC[rows, :count] = fit_dirichlet(t.counts_EC[rows, :count]) + t.counts_EC[rows, :count]
    for _ in range(draws):
        gamma_EC = np.where(t.exists_EC, rng.standard_gamma(np.maximum(alpha_EC, 1e-12)), 0.0)
        yield t.replace(p_EC=gamma_EC / gamma_EC.sum(-1, keepdims=True))
