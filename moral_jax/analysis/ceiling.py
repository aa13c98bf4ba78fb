"""Yardsticks: predictors that read no text (uniform, label priors), the true shares if they were known, and people.

What the true shares would score follows from a Dirichlet prior fitted to the votes. Given a row's votes c, its true
shares are distributed as Dirichlet(alpha + c), so the expected score of a model that knew them is an expectation over
that posterior: BEST of Scruples, which they sample. No model that does not see the votes can expect less.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from scipy import optimize
from scipy.special import digamma, gammaln

from moral_jax.analysis.metrics import log_rising
from moral_jax.analysis.table import Table

MOST_VOTES = 100  # of another panel that a model is compared with


def fit_dirichlet(counts_EC: np.ndarray) -> np.ndarray:
    """Fits the maximum-likelihood alpha [C] of Dirichlet-multinomial rows, as in Scruples (L-BFGS-B from ones)."""
    rows, times = np.unique(counts_EC, axis=0, return_counts=True)
    totals = rows.sum(-1)

    def negative_log_likelihood(alpha: np.ndarray) -> tuple[float, np.ndarray]:
        A = alpha.sum()
        log_likelihood = log_rising(alpha, rows).sum(-1) - log_rising(A, totals)
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


def with_even_rows(source: Table) -> Table:
    """Adds one imagined row of even votes for each number of options, with as many votes as rows have on average.

    What is fitted to it gives no option nothing: that nobody took an option in training does not rule it out.
    """
    numbers = np.unique(source.options_E)
    first = source.take(np.array([np.flatnonzero(source.options_E == n)[0] for n in numbers]))
    votes = np.array([source.counts_EC[source.options_E == n].sum(-1).mean() for n in numbers])
    even = uniform(first).p_EC * votes[:, None]
    merged = {"exists_EC": first.exists_EC, "counts_EC": even, "p_EC": first.p_EC}
    joined = {name: np.concatenate([getattr(source, name), rows]) for name, rows in merged.items()}
    return Table(**joined, concentration_E=np.concatenate([source.concentration_E, first.concentration_E]))


def mean_share(t: Table, source: Table) -> Table:
    """Predicts the mean shares of votes in `source`: the constant with its lowest cross-entropy."""
    if t.is_exchangeable:
        return uniform(t)
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
            alpha = _fitted(t, source.counts_EC[matches, :count])
            p_EC[rows, :count], s_E[rows] = alpha / alpha.sum(), alpha.sum()
    return t.replace(p_EC=p_EC, concentration_E=s_E)


def _fitted(t: Table, counts_EK: np.ndarray) -> np.ndarray:
    """Fits alpha to votes on K options; alike for all of them where their places say nothing."""
    if t.is_exchangeable:
        counts_EK = np.concatenate([np.roll(counts_EK, shift, axis=1) for shift in range(counts_EK.shape[1])])
    return fit_dirichlet(counts_EK)


def fitted_alpha(t: Table, counts_EC: np.ndarray) -> np.ndarray:
    """Returns for each row the alpha [E, C] of the Dirichlet fitted to all rows with as many options."""
    alpha_EC = np.zeros_like(t.p_EC)
    for count, rows in by_option_count(t):
        alpha_EC[rows, :count] = _fitted(t, counts_EC[rows, :count])
    return alpha_EC


def second_panel(t: Table, second_EC: np.ndarray) -> Table:
    """Predicts from a second panel's votes: the posterior of the shares, under a prior fitted to that panel.

    Unlike the true shares' score, it knows nothing of the votes that it is scored on.
    """
    alpha_EC = fitted_alpha(t, second_EC) + second_EC
    s_E = alpha_EC.sum(-1)
    return t.replace(p_EC=alpha_EC / s_E[:, None], concentration_E=s_E)


def true_shares_cross_entropy(t: Table, alpha_EC: np.ndarray) -> np.ndarray:
    """Returns the cross-entropy that the true shares can be expected to have, [E], nats; no draws.

    With pi ~ Dirichlet(alpha + c), E[- sum_k q_k log pi_k] = sum_k q_k (psi(A + N) - psi(alpha_k + c_k)).
    """
    posterior_EC = np.where(t.exists_EC, alpha_EC + t.counts_EC, 1.0)
    total_E = np.where(t.exists_EC, posterior_EC, 0.0).sum(-1)
    return (t.q_EC * (digamma(total_E)[:, None] - digamma(posterior_EC))).sum(-1)


def true_shares_entropy(t: Table, alpha_EC: np.ndarray) -> np.ndarray:
    """Returns the expected entropy of the true shares given the votes, [E], nats.

    With a = alpha + c and A its sum, E[H(pi)] = psi(A + 1) - sum_k a_k / A psi(a_k + 1). Where it is far from the mean
    of `true_shares_cross_entropy`, the Dirichlet prior does not fit.
    """
    a_EC = np.where(t.exists_EC, alpha_EC + t.counts_EC, 0.0)
    A_E = a_EC.sum(-1)
    return digamma(A_E + 1) - (a_EC / A_E[:, None] * digamma(a_EC + 1)).sum(-1)


def _drawn(t: Table, alpha_EC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns shares drawn from a Dirichlet for each row, [E, C].

    In logs, with gamma(a) = gamma(a + 1) U^(1 / a): where people nearly always agree alpha is tiny, and every gamma
    would underflow to 0.
    """
    alpha_EC = np.maximum(alpha_EC, 1e-12)
    log_EC = np.log(rng.standard_gamma(alpha_EC + 1)) + np.log(1 - rng.random(alpha_EC.shape)) / alpha_EC
    log_EC = np.where(t.exists_EC, log_EC, -np.inf)
    drawn_EC = np.exp(log_EC - log_EC.max(-1, keepdims=True))
    return drawn_EC / drawn_EC.sum(-1, keepdims=True)


def true_shares_draws(t: Table, alpha_EC: np.ndarray, draws: int, seed: int) -> Iterator[Table]:
    """Yields predictions drawn from the posterior of each row's true shares: BEST of Scruples
    (`utils.oracle_performance`), for metrics without a closed form."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        yield t.replace(p_EC=_drawn(t, alpha_EC + t.counts_EC, rng))


def split_ceiling(
    t: Table, alpha_EC: np.ndarray, correlation: Callable[[np.ndarray, np.ndarray], float], draws: int, seed: int
) -> float:
    """Returns the correlation with the observed split that the true shares would have, as few votes are noisy.

    Shares are drawn from the prior and votes from the shares, as many as each row has; the mean over draws.

    Args:
      t: whole votes.
      alpha_EC: the fitted prior.
      correlation: of a table's expected with its observed split, of drawn shares and votes.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(draws):
        pi_EC = _drawn(t, alpha_EC, rng)
        found.append(correlation(pi_EC, rng.multinomial(t.counts_EC.sum(-1).astype(np.int64), pi_EC)))
    return float(np.mean(found))


def _log_choose(n: float, k: np.ndarray) -> np.ndarray:
    """Returns the log of the number of ways to choose k of n; -inf where there is none."""
    possible = (k >= 0) & (k <= n)
    k = np.where(possible, k, 0)
    return np.where(possible, log_rising(n - k + 1, k) - gammaln(k + 1), -np.inf)


def votes_curve(t: Table, second_EC: np.ndarray) -> np.ndarray:
    """Returns the cross-entropy of a prediction from m votes of a second panel, m = 0, 1, ..., [E, 1 + m].

    The prediction is (alpha + c') / (A + m), the prior fitted to that panel; its cross-entropy is averaged over all
    ways to draw the m votes from the panel's N without replacement: c'_k is hypergeometric. Up to the smallest panel's
    votes, and at most MOST_VOTES; votes must be whole.
    """
    alpha_EC, N_E = fitted_alpha(t, second_EC), second_EC.sum(-1)
    most = int(min(N_E.min(), MOST_VOTES))
    total_EM = np.log(alpha_EC.sum(-1, keepdims=True) + np.arange(most + 1))

    @functools.cache
    def expected(c: float, N: float, alpha: float) -> np.ndarray:
        """Returns E[log(alpha + c')] for each m."""
        m, x = np.arange(most + 1)[:, None], np.arange(most + 1)
        chances = np.exp(_log_choose(c, x) + _log_choose(N - c, m - x) - _log_choose(N, m))
        return chances @ np.log(alpha + x)

    logs_ECM = np.zeros((*t.p_EC.shape, most + 1))
    for e, k in zip(*np.nonzero(t.counts_EC), strict=True):
        logs_ECM[e, k] = expected(float(second_EC[e, k]), float(N_E[e]), float(alpha_EC[e, k]))
    return total_EM - (t.q_EC[:, :, None] * logs_ECM).sum(1)


def worth(cross_entropy_R: np.ndarray, curve_RM: np.ndarray) -> np.ndarray:
    """Returns the number of votes at which a falling curve reaches a cross-entropy, [R], by straight lines.

    0 where the model is no better than the prior alone, the curve's end where it is better than all of its votes.
    """
    falling_RM = np.minimum.accumulate(curve_RM, axis=-1)
    return np.array([np.interp(-x, -c, np.arange(len(c))) for x, c in zip(cross_entropy_R, falling_RM, strict=True)])
