"""Linear probes: ridge classifiers, cross-validated by groups of rows.

A probe regresses one column for each class (1 for its rows, 0 for others) on standardised features and takes the
largest. One decomposition of the training rows, X = U S V', serves every penalty and every set of labels, so that
control labels cost next to nothing. The penalty is chosen inside the training rows by leaving out each group once.
That needs no refit: with the hat matrix H = 1 1'/n + U diag(s^2 / (s^2 + a)) U' and residuals r, the errors on a group
g that was left out are (I - H_gg)^-1 r_g.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# times the number of features, which is the mean squared length of a row
PENALTIES = np.array([1e-3, 1e-2, 1e-1, 1e0, 1e1, 1e2, 1e3, 1e4])
SMALLEST = 1e-12  # of squared singular values, beside the largest: smaller ones are rounding
CONSTANT = 1e-6  # features that vary less, beside their mean, are rounding


class Scaled(NamedTuple):
    """How features are standardised; those that are constant become 0."""

    mean_D: np.ndarray
    inverse_D: np.ndarray

    def __call__(self, x_ED: np.ndarray) -> np.ndarray:
        return (x_ED - self.mean_D) * self.inverse_D


def scaling(x_ED: np.ndarray) -> Scaled:
    """Returns how rows are standardised, by these rows alone."""
    mean_D, sd_D = x_ED.mean(0), x_ED.std(0)
    moves_D = sd_D > CONSTANT * np.maximum(np.abs(mean_D), CONSTANT)
    return Scaled(mean_D, np.where(moves_D, 1 / np.where(moves_D, sd_D, 1.0), 0.0))


def _penalties(scaled: Scaled) -> np.ndarray:
    return PENALTIES * max(1, int(np.count_nonzero(scaled.inverse_D)))


def targets(labels_SE: np.ndarray, classes: int) -> np.ndarray:
    """Returns a column of 0 and 1 for each class of each set of labels, [E, S, K]."""
    return np.moveaxis(labels_SE[..., None] == np.arange(classes), 0, 1).astype(float)


def _of_size(groups_E: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the places of the rows of all groups of a size, [groups, size]."""
    _, group_E, size_G = np.unique(groups_E, return_inverse=True, return_counts=True)
    order = np.argsort(group_E, kind="stable")
    starts = np.cumsum([0, *size_G[:-1]])
    for size in np.unique(size_G):
        yield order[starts[size_G == size][:, None] + np.arange(size)]


def _decomposed(x_ED: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns U [E, R], s [R] and V' [R, D] of X = U S V', by way of the smaller of X X' and X' X.

    That is several times as fast as a singular value decomposition. What it rounds away is far below every penalty.
    """
    wide = x_ED.shape[0] < x_ED.shape[1]
    squares_R, vectors = np.linalg.eigh(x_ED @ x_ED.T if wide else x_ED.T @ x_ED)
    kept = squares_R > SMALLEST * max(squares_R[-1], SMALLEST)
    s_R, vectors = np.sqrt(squares_R[kept]), vectors[:, kept]
    return (vectors, s_R, (x_ED.T @ vectors / s_R).T) if wide else (x_ED @ vectors / s_R, s_R, vectors.T)


def left_out_errors(x_ED: np.ndarray, y_EM: np.ndarray, groups_E: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Returns the error of every row where its group is left out, [penalties, E, M].

    Args:
      x_ED: features, standardised.
      y_EM: what is predicted, several columns at a time.
      penalties: in the units of x.
    """
    U_ER, s_R, _ = _decomposed(x_ED - x_ED.mean(0))
    errors = np.empty((len(penalties), *y_EM.shape))
    for i, penalty in enumerate(penalties):
        kept_R = s_R**2 / (s_R**2 + penalty)
        residual_EM = y_EM - y_EM.mean(0) - (U_ER * kept_R) @ (U_ER.T @ y_EM)
        for places_GE in _of_size(groups_E):
            U_GER = U_ER[places_GE]
            hat = 1 / len(x_ED) + (U_GER * kept_R) @ U_GER.swapaxes(1, 2)
            errors[i, places_GE] = np.linalg.solve(np.eye(places_GE.shape[1]) - hat, residual_EM[places_GE])
    return errors


def solve(x_ED: np.ndarray, y_EM: np.ndarray, penalty_M: np.ndarray) -> np.ndarray:
    """Returns the weights [D, M] of a ridge regression on standardised rows, a penalty for each column."""
    U_ER, s_R, V_RD = _decomposed(x_ED)
    shrunk_RM = s_R[:, None] / (s_R[:, None] ** 2 + penalty_M)
    return V_RD.T @ (shrunk_RM * (U_ER.T @ (y_EM - y_EM.mean(0))))


class Fold(NamedTuple):
    """A probe that was fitted to some rows."""

    scores_ESK: np.ndarray  # of the rows that it has not seen
    error_S: np.ndarray  # mean squared error inside, of the penalty that was chosen


def fit(
    x_ED: np.ndarray, y_ESK: np.ndarray, groups_E: np.ndarray, held_out_ED: np.ndarray, prior_SK: np.ndarray
) -> Fold:
    """Fits a probe for each set of labels, each with its own penalty, and applies it to rows that were held out.

    Args:
      prior_SK: what is predicted where features say nothing.
    """
    scaled = scaling(x_ED)
    z_ED, (E, S, K) = scaled(x_ED), y_ESK.shape
    penalties = _penalties(scaled)
    y_EM = y_ESK.reshape(E, S * K)
    error_PS = np.square(left_out_errors(z_ED, y_EM, groups_E, penalties)).reshape(-1, E, S, K).mean((1, 3))
    best_S = len(penalties) - 1 - np.argmin(error_PS[::-1], axis=0)  # the largest of those that tie
    weights_DM = solve(z_ED, y_EM, np.repeat(penalties[best_S], K))
    scores = scaled(held_out_ED) @ weights_DM + prior_SK.ravel()
    # rounding: what is equal but for the last digits is a tie, and the first class takes it
    return Fold(np.round(scores, 9).reshape(-1, S, K), error_PS[best_S, np.arange(S)])


class Probed(NamedTuple):
    """Answers of probes about rows that they have not seen."""

    correct_SE: np.ndarray  # 1.0 where the class of the label set is the one predicted
    errors_FS: np.ndarray  # of each fold, inside its training rows


def probe(x_ED: np.ndarray, labels_SE: np.ndarray, classes: int, groups_E: np.ndarray, folds_E: np.ndarray) -> Probed:
    """Returns the answers of probes on features, cross-validated.

    Where features say nothing, the shares of labels in all rows decide. Those of training rows would be wrong on
    purpose: what is frequent there is rare in the rows held out, and labels that no fold balances would lie below
    chance.

    Args:
      labels_SE: several sets of labels of the rows, each probed by itself.
      classes: how many there are.
      groups_E: rows of a group are left out together when the penalty is chosen.
      folds_E: rows of a fold are held out together.
    """
    y_ESK, correct_SE, errors = targets(labels_SE, classes), np.zeros(labels_SE.shape), []
    x_ED = np.asarray(x_ED, float)
    for number in range(folds_E.max() + 1):
        out = folds_E == number
        fold = fit(x_ED[~out], y_ESK[~out], groups_E[~out], x_ED[out], y_ESK.mean(0))
        correct_SE[:, out] = labels_SE[:, out] == fold.scores_ESK.argmax(-1).T
        errors.append(fold.error_S)
    return Probed(correct_SE, np.stack(errors))


def direction(x_ED: np.ndarray, labels_E: np.ndarray, groups_E: np.ndarray) -> np.ndarray:
    """Returns the direction in which a probe of two classes sees the second, fitted to all rows, in units of x."""
    scaled = scaling(x_ED)
    z_ED, y_EM = scaled(x_ED), (labels_E == 1).astype(float)[:, None]
    penalties = _penalties(scaled)
    error_P = np.square(left_out_errors(z_ED, y_EM, groups_E, penalties)).mean((1, 2))
    best = len(penalties) - 1 - int(np.argmin(error_P[::-1]))
    return solve(z_ED, y_EM, penalties[best : best + 1])[:, 0] * scaled.inverse_D
