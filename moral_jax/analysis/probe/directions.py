"""Directions of two classes: where the means of the classes part, before and after.

The two models read the same rows, so noise of the rows is in both of their directions and makes them look alike. So a
cosine stands beside two others that are free of it: a model's own direction on one half of the groups against its own
on the other half, and against the other model's on the other half. Only if the second is lower has the direction
turned.
"""

from typing import Any

import numpy as np

from moral_jax.analysis.bootstrap import Draws, Estimate, interval
from moral_jax.analysis.probe import ridge
from moral_jax.analysis.probe.intervals import Groups, OfRows
from moral_jax.analysis.probe.subject import Rows

HALVES = 20  # random divisions into halves
NORMAL = 1.96  # of a normal distribution, for 95 %


def cosine(a_D: np.ndarray, b_D: np.ndarray) -> float:
    """Returns the cosine of two directions; NaN where one is 0."""
    size = np.linalg.norm(a_D) * np.linalg.norm(b_D)
    return float(np.clip(a_D @ b_D / size, -1, 1)) if size > 0 else float("nan")


def mean_difference(x_ED: np.ndarray, labels_E: np.ndarray, w_RE: np.ndarray | None = None) -> np.ndarray:
    """Returns the mean of class 1 less that of class 0, [R, D] with weights of rows, else [D]."""
    w = np.ones((1, len(labels_E))) if w_RE is None else w_RE
    one, none = w * (labels_E == 1), w * (labels_E == 0)
    found = one @ x_ED / np.maximum(one.sum(1, keepdims=True), 1e-12)
    found -= none @ x_ED / np.maximum(none.sum(1, keepdims=True), 1e-12)
    return found if w_RE is not None else found[0]


def _halves(groups_E: np.ndarray, seed: int) -> list[np.ndarray]:
    """Returns which rows lie in the first half of the groups, HALVES times."""
    count, rng = groups_E.max() + 1, np.random.default_rng((seed, 4))
    return [(rng.permutation(count) < count // 2)[groups_E] for _ in range(HALVES)]


def _split_cosines(a_ED: np.ndarray, b_ED: np.ndarray, rows: Rows, seed: int) -> dict[str, float]:
    """Returns mean cosines between directions of different halves: within each model, and across."""
    found: dict[str, list[float]] = {"within_first": [], "within_other": [], "across": []}
    for half_E in _halves(rows.groups_E, seed):
        sides = half_E, ~half_E
        a, b = ([mean_difference(x[side], rows.labels_E[side]) for side in sides] for x in (a_ED, b_ED))
        found["within_first"].append(cosine(*a))
        found["within_other"].append(cosine(*b))
        found["across"].append((cosine(a[0], b[1]) + cosine(a[1], b[0])) / 2)
    return {name: float(np.mean(values)) for name, values in found.items()}


def projected(
    x_ED: np.ndarray, others_ED: np.ndarray, rows: Rows, folds_E: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns held-out states on the direction of the first model, [E] of both.

    Of the training rows of each fold come the direction, its middle between the classes, and its unit: the standard
    deviation within classes.
    """
    own_E, other_E = np.zeros(len(x_ED)), np.zeros(len(x_ED))
    for number in range(folds_E.max() + 1):
        out = folds_E == number
        train, labels = x_ED[~out], rows.labels_E[~out]
        step_D = mean_difference(train, labels)
        unit_D = step_D / max(np.linalg.norm(step_D), 1e-12)
        means = np.stack([train[labels == k].mean(0) for k in (0, 1)])
        spread = np.sqrt(np.mean(np.square((train - means[labels]) @ unit_D)))
        for target, x in ((own_E, x_ED), (other_E, others_ED)):
            target[out] = (x[out] - means.mean(0)) @ unit_D / max(spread, 1e-12)
    return own_E, other_E


def _gap(values_E: np.ndarray, labels_E: np.ndarray) -> OfRows:
    return lambda w_RE: mean_difference(values_E[:, None], labels_E, w_RE)[:, 0]


def _cosine(a_ED: np.ndarray, b_ED: np.ndarray, rows: Rows) -> Estimate:
    """Returns the cosine of two directions, and its interval by a jackknife over groups.

    Resampled rows would not do: they are noisier than the rows, which lowers every cosine.
    """
    w_GE = (np.arange(rows.groups_E.max() + 1)[:, None] != rows.groups_E).astype(float)
    a_GD, b_GD = (mean_difference(x, rows.labels_E, w_GE) for x in (a_ED, b_ED))
    left_G = np.array([cosine(a, b) for a, b in zip(a_GD, b_GD, strict=True)])
    value = cosine(*(mean_difference(x, rows.labels_E) for x in (a_ED, b_ED)))
    error = np.sqrt((len(left_G) - 1) * np.var(left_G))
    low, high = np.clip([value - NORMAL * error, value + NORMAL * error], -1.0, 1.0)
    return {"value": value, "low": float(low), "high": float(high)}


def compare(
    a_ED: np.ndarray, b_ED: np.ndarray, rows: Rows, folds_E: np.ndarray, groups: Groups, seed: int
) -> dict[str, Any] | None:
    """Returns how the direction of two classes in one model lies to that in another; None where a layer is constant.

    Both must have the same width, and be one model before and after: axes of two models are not the same.
    """
    if not np.linalg.norm(mean_difference(a_ED, rows.labels_E)) > ridge.CONSTANT * np.abs(a_ED).mean():
        return None
    own_E, other_E = projected(a_ED, b_ED, rows, folds_E)
    drawn: dict[str, Draws] = groups.draws(
        {
            "gap_first": _gap(own_E, rows.labels_E),
            "gap_other": _gap(other_E, rows.labels_E),
            "shift": other_E - own_E,
        }
    )
    probes = [ridge.direction(x, rows.labels_E, rows.groups_E) for x in (a_ED, b_ED)]
    return (
        {"cosine": _cosine(a_ED, b_ED, rows)}
        | _split_cosines(a_ED, b_ED, rows, seed)
        | {"probe_cosine": cosine(*probes)}
        | {name: interval(drawn[name]) for name in ("gap_first", "gap_other", "shift")}
        | {"gap_change": interval(drawn["gap_other"] - drawn["gap_first"])}
    )
