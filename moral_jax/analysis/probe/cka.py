"""Linear CKA: how alike the states of two models lie, whatever rotates or stretches them (arXiv 1905.00414).

The plain form is biased: of few rows with many features even noise looks alike. The debiased form puts unbiased
estimates of HSIC (Song et al., 2012) in its place, and is near 0 for noise. Pages print it, and the band that shuffled
rows give.
"""

import numpy as np

SMALLEST = 4  # rows; the debiased form divides by rows - 3


def _gram(x_ED: np.ndarray) -> np.ndarray:
    x_ED = np.asarray(x_ED, float)
    x_ED = x_ED - x_ED.mean(0)
    return x_ED @ x_ED.T


def _unbiased(gram_EE: np.ndarray) -> np.ndarray:
    """Returns a Gram matrix centred so that products of two are unbiased (Szekely and Rizzo, 2014)."""
    gram_EE = gram_EE - np.diag(np.diag(gram_EE))
    mean_E = gram_EE.sum(0) / (len(gram_EE) - 2)
    mean_E -= mean_E.sum() / (2 * (len(gram_EE) - 1))
    gram_EE = gram_EE - mean_E[:, None] - mean_E
    return gram_EE - np.diag(np.diag(gram_EE))


def _ratio(a_EE: np.ndarray, b_EE: np.ndarray) -> float:
    size = np.sqrt(np.sum(a_EE**2) * np.sum(b_EE**2))
    return float(np.sum(a_EE * b_EE) / size) if size > 0 else float("nan")


def biased(x_ED: np.ndarray, y_ED: np.ndarray) -> float:
    """Returns linear CKA as it was defined; NaN where one of the two is constant."""
    return _ratio(_gram(x_ED), _gram(y_ED))


def debiased(x_ED: np.ndarray, y_ED: np.ndarray) -> float:
    """Returns debiased linear CKA of at least SMALLEST rows; NaN where one of the two is constant."""
    return _ratio(_unbiased(_gram(x_ED)), _unbiased(_gram(y_ED)))


def band(x_ED: np.ndarray, y_ED: np.ndarray, count: int, seed: int) -> tuple[float, float]:
    """Returns between which values 95 % of debiased CKAs lie where rows are shuffled."""
    a_EE, b_EE = _unbiased(_gram(x_ED)), _unbiased(_gram(y_ED))
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        order = rng.permutation(len(b_EE))
        found.append(_ratio(a_EE, b_EE[np.ix_(order, order)]))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
